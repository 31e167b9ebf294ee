"""Makes a pure function of the statements that are a training step of JAX's, and nobody compiles.

It is given what they read and returns what they bind, so JAX can trace it; the code around it does
what it did.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from floatline.capture.names import path_of
from floatline.capture.placing import PREFIX, expression, parsed, placed, prepend
from floatline.capture.pure_loops import PurePlace, pure_places, pure_step_functions

_MARK = "__import__('floatline.marks', fromlist=['pure_step']).pure_step"


def outline_pure(tree: ast.Module) -> None:
    """Gives a program, in place, a marked function for each step of JAX's in a loop of its."""
    for function in pure_step_functions(tree):
        function.decorator_list = [placed(expression(_MARK), function)]
    for number, place in enumerate(pure_places(tree)):
        if place.obstacle is None:
            _outline(place, f"{PREFIX}pure_{number}")


def _outline(place: PurePlace, name: str) -> None:
    first = place.step[0]
    local = parameters(place)
    step = parsed(
        f"@{_MARK}\n"
        f"def {name}({', '.join(local[path] for path in place.given)}):\n"
        f"    return ({', '.join(local[path] for path in place.returned)},)",
        first,
    )[0]
    assert isinstance(step, ast.FunctionDef)
    renamed = {path: own for path, own in local.items() if path != own}
    step.body[:0] = [_Renamed(renamed).visit(statement) for statement in place.step]
    call = f"({', '.join(place.returned)},) = {name}({', '.join(place.given)})"
    place.body[place.begin : place.end] = [*parsed(call, first), *place.later]
    prepend(place.scope, [step])


def parameters(place: PurePlace) -> Mapping[str, str]:
    """What the step's function calls what it is given and returns.

    An attribute goes by its own name where that is free.
    """
    paths = list(dict.fromkeys((*place.given, *place.returned)))
    nodes = [node for statement in place.step for node in ast.walk(statement)]
    taken = {node.id for node in nodes if isinstance(node, ast.Name)}
    names: dict[str, str] = {}
    for path in paths:
        last = path.rpartition(".")[2]
        free = last not in {*taken, *names.values()}
        names[path] = path if path == last else last if free else path.replace(".", "_")
    return names


class _Renamed(ast.NodeTransformer):
    """Puts names in the place of attributes."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """The name of an attribute that has one."""
        name = self._names.get(path_of(node)) if path_of(node) else None
        if name is None:
            return self.generic_visit(node)
        return ast.copy_location(ast.Name(name, node.ctx), node)
