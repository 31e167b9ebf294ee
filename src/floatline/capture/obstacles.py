"""Why the statements of a step of JAX's cannot become a pure function, where they cannot."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from floatline.capture.gradients import called_name
from floatline.capture.names import FUNCTIONS, Function, Scope, bound, free, own, path_of, stored

_DECLARING = (ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom, ast.Await, ast.Delete)
_ASKING = frozenset({"float", "item", "tolist", "device_get"})
_MOVING_ON = frozenset({"next", "super"})


def obstacle(
    tree: ast.Module,
    scope: Scope,
    step: Sequence[ast.stmt],
    given: Sequence[str],
    changing: set[str],
) -> str | None:
    """What stands against it, in words that follow "it cannot be followed:"; None if nothing does.

    Args:
        tree: The file.
        scope: The function that the statements stand in, or the module.
        step: The statements.
        given: What they would be given.
        changing: Names that the loops around them bind.
    """
    nodes = [node for statement in step for node in own(statement)]
    calls = [n for statement in step for n in ast.walk(statement) if isinstance(n, ast.Call)]
    names = {called_name(call) for call in calls}
    reasons = (
        "it may be left before its end, by `continue`, `break` or `return`" * any(_leaving(step)),
        "it declares or deletes names, or waits for something"
        * (
            isinstance(scope, ast.AsyncFunctionDef)
            or any(isinstance(node, _DECLARING) for node in nodes)
        ),
        *(f"it calls `{name}`" for name in sorted(names & _MOVING_ON)),
        *(
            f"it calls `{ast.unparse(call)}` for what that changes in place"
            for call in _bare(nodes)
        ),
        *(f"it writes to `{path}` in place" for path in sorted(_written(nodes, given))),
        *(f"it asks for the value of something, by `{name}`" for name in sorted(names & _ASKING)),
        *(f"it computes with NumPy, by `{path}`" for path in sorted(_numpys(calls))),
        *_hidden(tree, step, changing),
    )
    return next(filter(None, reasons), None)


def _leaving(step: Sequence[ast.AST], *, inner: bool = False) -> Iterator[bool]:
    """True for each statement that leaves the step; a loop of its own may be left."""
    for node in step:
        yield isinstance(node, ast.Return) or (
            not inner and isinstance(node, ast.Continue | ast.Break)
        )
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            loops = inner or isinstance(node, ast.For | ast.While)
            yield from _leaving(list(ast.iter_child_nodes(node)), inner=loops)


def _bare(nodes: Sequence[ast.AST]) -> list[ast.Call]:
    """Calls whose results nobody takes."""
    return [n.value for n in nodes if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]


def _written(nodes: Sequence[ast.AST], given: Sequence[str]) -> set[str]:
    """What a step writes to that is neither given to it nor made by it."""
    making = (ast.Call, ast.Dict, ast.List)
    assignments = [n for n in nodes if isinstance(n, ast.Assign) and isinstance(n.value, making)]
    made = bound(target for assignment in assignments for target in assignment.targets)
    parts = [n for n in nodes if isinstance(n, ast.Attribute | ast.Subscript)]
    return {
        ast.unparse(node)
        for node in parts
        if not isinstance(node.ctx, ast.Load)
        and path_of(node) not in given
        and not (isinstance(node, ast.Subscript) and path_of(node) in made)
    }


def _numpys(calls: Sequence[ast.Call]) -> set[str]:
    paths = {path_of(call.func) for call in calls}
    return {path for path in paths if path.partition(".")[0] in ("np", "numpy")}


def _hidden(tree: ast.Module, step: Sequence[ast.stmt], changing: set[str]) -> Iterator[str]:
    """What functions that the step calls know and write beside its back."""
    moved = {path for path in stored(step) if "." in path}
    for function in _reached(tree, step):
        if any(isinstance(node, ast.Global | ast.Nonlocal) for node in ast.walk(function)):
            yield f"`{function.name}` writes to names outside of it"
        attributes = {path_of(n) for n in ast.walk(function) if isinstance(n, ast.Attribute)}
        for path in sorted((free([function]) & changing) | (attributes & moved)):
            yield f"`{function.name}` reads `{path}` without being given it"


def _reached(tree: ast.Module, step: Sequence[ast.stmt]) -> list[Function]:
    """Functions of the file that a step may call, directly or not, and that are not its own."""
    inside = {id(node) for statement in step for node in ast.walk(statement)}
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    known = {f.name: f for f in functions if id(f) not in inside}
    reached: dict[str, Function] = {}
    waiting: list[ast.AST] = list(step)
    for node in waiting:  # Grows while it is read.
        names = {getattr(n, "id", getattr(n, "attr", None)) for n in ast.walk(node)}
        fresh = {name: known[name] for name in known if name in names and name not in reached}
        reached |= fresh
        waiting += fresh.values()
    return list(reached.values())
