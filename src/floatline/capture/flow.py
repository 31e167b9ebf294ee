"""What statements need from what comes before them, and what they leave behind for what follows.

Names, and attributes of names, are paths: `params`, `self.params`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from floatline.capture.loops import suites
from floatline.capture.names import FUNCTIONS, Scope, arguments_of, bound, free, own, root, stored


def touch(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether one of the paths is one of the others, a part of it, or what it is a part of.

    Example:

    >>> touch({"state.params"}, {"state"}), touch({"state"}, {"states"})
    (True, False)
    """
    return any(
        one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
        for one in some
        for other in others
    )


def read_of(statement: ast.stmt) -> set[str]:
    """What a statement reads of what is around it, whatever it has bound before."""
    return free([statement])


def needed(statements: Sequence[ast.stmt]) -> set[str]:
    """What statements read before they have surely bound it themselves."""
    return _flow(statements, set())[0]


def surely(statements: Sequence[ast.stmt]) -> set[str]:
    """What statements have bound when they are over, whatever way they took."""
    return _flow(statements, set())[1]


def _flow(statements: Sequence[ast.stmt], sure: set[str]) -> tuple[set[str], set[str]]:
    wanted: set[str] = set()
    for statement in statements:
        parts = list(suites(statement)) if not isinstance(statement, FUNCTIONS) else []
        if not parts or isinstance(statement, ast.ClassDef | ast.Match | ast.Try):
            wanted |= _beyond(read_of(statement), sure)
            sure = sure | (stored([statement]) if not parts else set())
            continue
        inner, heads = set(sure), [n for n in ast.iter_child_nodes(statement) if _is_head(n)]
        wanted |= _beyond(free(heads), sure)
        inner |= stored(heads)
        ends = []
        for part in parts:
            asked, end = _flow(part, inner)
            wanted |= asked
            ends.append(end)
        if isinstance(statement, ast.With):
            sure = ends[0]
        elif isinstance(statement, ast.If) and len(ends) == 2:
            sure = ends[0] & ends[1]
    return wanted, sure


def _is_head(node: ast.AST) -> bool:
    return not isinstance(node, ast.stmt | ast.ExceptHandler)


def _beyond(paths: set[str], sure: set[str]) -> set[str]:
    return {path for path in paths if path not in sure and root(path) not in sure}


def data_in(tree: ast.Module, scope: Scope) -> set[str]:
    """Names that can stand for data: bound otherwise than by an import, a definition, a number."""
    return {name for holder in _around(tree, scope) for name in _data_of(holder)}


def _around(tree: ast.Module, scope: Scope) -> list[Scope]:
    """The module, and the functions around a scope, its own included."""
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    return [tree, *(f for f in functions if any(node is scope for node in ast.walk(f)))]


def _data_of(holder: Scope) -> set[str]:
    nodes = [node for statement in holder.body for node in own(statement)]
    names = [n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)]
    numbers = bound(
        target
        for statement in holder.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
    )
    given = set() if isinstance(holder, ast.Module) else arguments_of(holder)
    return given | {name for name in names if name not in numbers or names.count(name) > 1}


def read_beside(scope: Scope, body: list[ast.stmt], begin: int, end: int) -> set[str]:
    """Names that a scope reads besides some statements of a body in it."""
    kept = body[begin:end]
    body[begin:end] = [ast.Pass()]
    read = {root(path) for path in free(scope.body)}
    body[begin : begin + 1] = kept
    return read
