"""Which names a piece of Python binds, reads and declares, in its own scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
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


def free(nodes: Iterable[ast.AST]) -> set[str]:
    """What nodes read of what is around them: names, and attributes of names as `name.attribute`.

    Example:

    >>> sorted(free(ast.parse("y = [f(x.a.b) for x in xs]; self.w -= (lambda z: z + 1)(y)").body))
    ['f', 'self.w', 'xs', 'y']
    """
    return {path for node in nodes for path in _free(node)}


def stored(nodes: Iterable[ast.AST]) -> set[str]:
    """What nodes bind or write to, in the same form; of `a.b["c"] = 1` it is `a.b`.

    Example:

    >>> sorted(stored(ast.parse("x, self.w = f(y); params['w'][0] -= 1").body))
    ['params', 'self.w', 'x']
    """
    nodes = list(nodes)
    targets = [
        inner
        for node in nodes
        for inner in own(node)
        if isinstance(inner, ast.Attribute | ast.Subscript) and isinstance(inner.ctx, ast.Store)
    ]
    return bound(nodes) | {path for target in targets for path in [path_of(target)] if path}


def path_of(node: ast.AST) -> str:
    """The path of a name or of attributes of a name; of what is inside of a container, its own."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        owner = path_of(node.value) if isinstance(node.value, ast.Name | ast.Attribute) else ""
        return f"{owner}.{node.attr}" if owner else ""
    return node.id if isinstance(node, ast.Name) else ""


def _free(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name | ast.Attribute) and path_of(node):
        return {path_of(node)} if isinstance(node.ctx, ast.Load) else set()
    children = set().union(*(_free(child) for child in ast.iter_child_nodes(node)), set())
    if isinstance(node, ast.AugAssign):
        return children | {path_of(node.target)}
    inside: set[str] = set()
    if isinstance(node, _COMPREHENSIONS):
        inside = bound(generator.target for generator in node.generators)
    elif isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
        body = [] if isinstance(node, ast.Lambda) else node.body
        inside = bound(body) | arguments_of(node)
    return {path for path in children if root(path) not in inside}


def root(path: str) -> str:
    """The name that a path begins with."""
    return path.partition(".")[0]


def arguments_of(function: Function | ast.Lambda) -> set[str]:
    """Names of all that a function is given."""
    given = function.args
    several = [given.vararg, given.kwarg]
    every = (*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, several))
    return {argument.arg for argument in every}


def imported(tree: ast.Module) -> set[str]:
    """The packages that a file imports."""
    nodes = list(ast.walk(tree))
    names = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    names += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


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
