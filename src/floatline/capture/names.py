"""Which names a piece of Python binds, reads and declares, in its own scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def bound(nodes: Iterable[ast.AST]) -> set[str]:
    r"""Names that the nodes give or take a value, not those of functions and classes inside.

    Example:

    >>> tree = ast.parse("for i, x in data:\n    y = [z for z in x]\n    def f(a): b = 1")
    >>> sorted(bound(tree.body))
    ['f', 'i', 'x', 'y']
    """
    return {name for node in nodes for inner in own(node) for name in _bound_by(inner)}


def read(nodes: Iterable[ast.AST]) -> set[str]:
    """Names whose value the nodes may ask for, in functions inside, too."""
    return {
        inner.id
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Del)
    }


def own(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it that belong to the same scope."""
    yield node
    if isinstance(node, _COMPREHENSIONS):
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):  # The only name that leaves a comprehension.
                yield inner.target
        return
    for child in _children(node):
        yield from own(child)


def _children(node: ast.AST) -> Iterable[ast.AST]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.decorator_list
    if isinstance(node, ast.Lambda):
        return ()
    return ast.iter_child_nodes(node)


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        if node.name is not None:
            yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest is not None:
        yield node.rest


def declared(scope: Function, kind: type[ast.Global | ast.Nonlocal]) -> set[str]:
    """Names that a function says are the module's, or those of a function around it."""
    nodes = (inner for statement in scope.body for inner in own(statement))
    return {name for node in nodes if isinstance(node, kind) for name in node.names}
