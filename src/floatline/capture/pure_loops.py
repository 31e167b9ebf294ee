"""Finds the statements that make one training step of JAX's in a loop, where nothing compiles them.

Nothing is written in place there, so a step is told from what becomes of a gradient: what it moves
is bound anew, and differentiated in the next round. Nothing runs here.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from floatline.capture.flow import data_in, needed, read_beside, read_of, surely, touch
from floatline.capture.gradients import (
    Gradients,
    gradients_of,
    is_compiled,
    keeps,
    looks_on,
    makes_gradients,
)
from floatline.capture.loops import Loop, half_named, suites
from floatline.capture.names import FUNCTIONS, Function, Scope, bound, stored
from floatline.capture.obstacles import obstacle


@dataclass(frozen=True, slots=True)
class PurePlace:
    """Statements that are one training step.

    Attributes:
        scope: The function that they stand in, or the module.
        body: The body of a loop, or of the function.
        begin: Index of the first statement.
        end: Index behind the last of them.
        step: Those of them that the update needs.
        later: Those that only look on, and can do so when the step is over.
        given: What the step reads, the state first: names, and attributes of names.
        returned: What it binds, the state first, in the same order.
        obstacle: Why they cannot become a function of their own; None if they can.
    """

    scope: Scope
    body: list[ast.stmt]
    begin: int
    end: int
    step: tuple[ast.stmt, ...]
    later: tuple[ast.stmt, ...]
    given: tuple[str, ...]
    returned: tuple[str, ...]
    obstacle: str | None


def pure_places(tree: ast.Module) -> list[PurePlace]:
    r"""The steps of a file that stand in a loop, or in a method that keeps the state in its object.

    Example:

    >>> text = "import jax\nfor x in data:\n  g = jax.grad(f)(w, x)\n  w = w - g\n  print(w)"
    >>> [(place.given, place.returned) for place in pure_places(ast.parse(text))]
    [(('w', 'x'), ('w', 'g'))]
    """
    gradients = gradients_of(tree)
    if gradients is None:
        return []
    functions = [n for n in ast.walk(tree) if isinstance(n, FUNCTIONS) and not is_compiled(n)]
    finder = _Finder(tree, gradients)
    return [place for scope in (tree, *functions) for place in finder.places(scope)]


def pure_step_functions(tree: ast.Module) -> list[Function]:
    """The functions that move what they are given along its gradient, and that nobody compiles."""
    gradients = gradients_of(tree)
    if gradients is None:
        return []
    handed = _handed_over(tree)
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and not node.decorator_list
        and node.name not in handed
        and gradients.steps(node)
    ]


def _handed_over(tree: ast.Module) -> set[str]:
    """Names of what is not only called, but handed to something: a compiler, a scan."""
    nodes = list(ast.walk(tree))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    loaded = [n for n in nodes if isinstance(getattr(n, "ctx", None), ast.Load)]
    names = [getattr(n, "id", getattr(n, "attr", "")) for n in loaded if id(n) not in called]
    return set(map(str, names))


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds the steps of a file.

    Attributes:
        tree: The file.
        gradients: What differentiates in it.
    """

    tree: ast.Module
    gradients: Gradients

    def places(self, scope: Scope) -> list[PurePlace]:
        """The steps in a function or in the module, not those in functions inside."""
        found = list(self._in_loops(scope, scope.body, ()))
        if found or isinstance(scope, ast.Module):
            return found
        extent = self.gradients.extent(scope.body)
        if extent is None or not keeps(scope.body[slice(*extent)]):
            return []
        return [self._place(scope, scope.body, extent, set())]

    def _in_loops(
        self, scope: Scope, body: Sequence[ast.stmt], around: tuple[Loop, ...]
    ) -> Iterator[PurePlace]:
        for statement in body:
            if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
                continue
            loop = statement if isinstance(statement, ast.For | ast.While) else None
            inside = around if loop is None else (*around, loop)
            found = [
                place
                for suite in suites(statement)
                for place in self._in_loops(scope, suite, inside)
            ]
            extent = None if found or loop is None else self.gradients.extent(loop.body)
            if extent is not None and loop is not None:
                found = [self._place(scope, loop.body, extent, _bound_by(inside))]
            yield from found

    def _place(
        self, scope: Scope, body: list[ast.stmt], extent: tuple[int, int], changing: set[str]
    ) -> PurePlace:
        end = extent[1]
        begin = _beginning(body, *extent)
        step, later = self._parted(body[begin:end])
        binds, data = stored(step), data_in(self.tree, scope)
        wanted = {_handed(path, binds) for path in needed(step)}
        state, others = sorted(wanted & binds), sorted(binds - wanted)
        given = (*state, *sorted(path for path in wanted - binds if path in data))
        sure = surely(step) - {s.name for s in step if isinstance(s, FUNCTIONS)}
        read = read_beside(scope, body, begin, end)
        lost = [f"it may leave `{p}` without a value" for p in others if p in read - sure]
        against = obstacle(self.tree, scope, step, given, changing) or next(iter(lost), None)
        returned = (*state, *(path for path in others if path in sure))
        return PurePlace(
            scope, body, begin, end, tuple(step), tuple(later), given, returned, against
        )

    def _parted(self, statements: Sequence[ast.stmt]) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """What the update needs, and what only looks on and can wait until the step is over."""
        step: list[ast.stmt] = []
        later: list[ast.stmt] = []
        for statement in reversed(statements):
            reads, binds = read_of(statement), stored([statement])
            waits = (
                looks_on(statement)
                and not touch(binds, needed(step))
                and not touch(reads | binds, stored(step))
                and not self.gradients.calls(statement)
            )
            (later if waits else step).insert(0, statement)
        return step, later


def _bound_by(loops: Sequence[Loop]) -> set[str]:
    targets = bound(loop.target for loop in loops if isinstance(loop, ast.For))
    return targets | bound(statement for loop in loops for statement in loop.body)


def _beginning(body: Sequence[ast.stmt], first: int, end: int) -> int:
    """Where a step begins: as late as it can, for what prepares a batch is not its own.

    What it makes of its state belongs to it, and so do casts and the functions it differentiates.
    """
    begin = first
    for index in range(first - 1, -1, -1):
        statement, step = body[index], body[begin:end]
        of_state = touch(read_of(statement), stored(step))
        if touch(stored([statement]), needed(step)) and (
            of_state or half_named([statement]) or _makes_function(statement)
        ):
            begin = index
    return begin


def _makes_function(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(statement, FUNCTIONS) or (
        isinstance(value, ast.Lambda) or makes_gradients(value)
    )


def _handed(path: str, binds: Collection[str]) -> str:
    """What is handed to a step that reads a path: what it binds of it, else all of the object."""
    parts = path.split(".")
    whole = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return next((part for part in whole if part in binds), parts[0])
