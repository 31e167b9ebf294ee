"""Rewrites of a training loop that handles its loss scale wrongly, or has none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from floatline.records import Finding
from floatline.remedies.statement import (
    Edit,
    Scope,
    Statement,
    calls,
    first_argument,
    name_of,
    outside,
    owner_of,
    root,
    scopes_of,
    targets,
)

WRAPPER = "LossScaleOptimizer"

KEEPERS = ("scale_loss", WRAPPER)
"""What a file says in which an optimizer keeps the loss scale."""

APPLIES = ("apply", "apply_gradients")
"""Methods of an optimizer that take gradients."""

CLIPS = ("clip_by_global_norm", "clip_by_norm", "clip_by_value", "clip")
"""Functions that limit gradients to the numbers they are given."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Where a function differentiates a loss and hands the gradients to an optimizer.

    Attributes:
        loss: Name of what is differentiated.
        made: The last statement that computes it.
        read: The places that differentiate it.
        optimizer: The optimizer, as it is written there.
        backward: Whether it is differentiated by its own method, as on PyTorch.
        function: The function.
    """

    function: Scope
    loss: str
    made: ast.stmt
    read: ast.Name
    optimizer: str
    backward: bool


def scaled_loss(line: Statement, finding: Finding) -> list[Edit]:
    """The loss is multiplied by the scale before it is differentiated."""
    forgotten = finding.rule == "FL404" and "bound" not in finding.evidence
    loop = _loop(line) if forgotten else None
    if loop is None or any(name_of(c.func) in CLIPS for c in calls(line.node)):
        return []
    return _scaled(line, loop)


def wrapped_optimizer(line: Statement, finding: Finding) -> list[Edit]:
    """A loop's own optimizer gets a loss scale, and the loss is multiplied by it.

    Where a step has several, each gets one, for the loss that it lowers.
    """
    if finding.rule != "FL201":
        return []
    loop = _loop(line)
    wrapped = [_wrapped(line, one) for one in ([loop] if loop else _paired_loops(line))]
    return [edit for edits in wrapped for edit in edits] if all(wrapped) else []


def _wrapped(line: Statement, loop: Loop) -> list[Edit]:
    made = _made(line.tree, loop)
    if made is None or WRAPPER in ast.unparse(made):
        return []
    module = ast.unparse(made.func).rpartition(".")[0] if isinstance(made, ast.Call) else ""
    if not module and "keras" not in line.imported:
        return []
    wrapper = f"{module or 'keras.optimizers'}.{WRAPPER}"
    begin, end = line.at(made)
    return [(begin, end, f"{wrapper}({line.text[begin:end]})"), *_scaled(line, loop)]


def clipped_later(line: Statement, finding: Finding) -> list[Edit]:
    """A bound on gradients that carry the loss scale is multiplied by it, too."""
    function = line.function
    if finding.rule != "FL404" or function is None or not any(k in line.text for k in KEEPERS):
        return []
    optimizer = _optimizer(function)
    bounds = [
        bound
        for call in calls(line.node)
        if name_of(call.func) in CLIPS
        for bound in (*call.args[1:], *(k.value for k in call.keywords if k.arg != "axes"))
        if _is_number(bound)
    ]
    if optimizer is None:
        return []
    return [
        line.replacing(bound, f"{optimizer}.scale_loss({ast.unparse(bound)})") for bound in bounds
    ]


def _scaled(line: Statement, loop: Loop) -> list[Edit]:
    if loop.backward:
        return [line.replacing(loop.read, f"{loop.optimizer}.scale_loss({loop.loss})")]
    name = f"scaled_{loop.loss}"
    if name in line.text:
        return []
    return [
        line.after(loop.made, f"{name} = {loop.optimizer}.scale_loss({loop.loss})"),
        line.replacing(loop.read, name),
    ]


def _loop(line: Statement) -> Loop | None:
    """The loop around a line; that of its file where it stands in none and there is one only."""
    around = line.function or outside(line.tree)
    loops = list(_loops(around))
    if not loops:
        loops = [loop for function in scopes_of(line.tree) for loop in _loops(function)]
    return loops[0] if len(loops) == 1 else None


def _loops(function: Scope) -> Iterator[Loop]:
    optimizer = _optimizer(function)
    if optimizer is None or f"{optimizer}.scale_loss" in ast.unparse(function):
        return
    for call in calls(function):
        method = call.func
        if not isinstance(method, ast.Attribute):
            continue
        if method.attr == "gradient" and call.args and isinstance(call.args[0], ast.Name):
            read, backward = call.args[0], False
        elif method.attr == "backward" and isinstance(method.value, ast.Name):
            read, backward = method.value, True
        else:
            continue
        made = _last(function, read, None if backward else root(method.value))
        if made is not None:
            yield Loop(function, read.id, made, read, optimizer, backward)


def _paired_loops(line: Statement) -> list[Loop]:
    """The loops of a step with several optimizers, each with gradients and a loss of its own."""
    found = [loops] if (loops := _pairs(line.function or outside(line.tree))) else []
    if not found:
        found = [loops for function in scopes_of(line.tree) if (loops := _pairs(function))]
    return found[0] if len(found) == 1 else []


def _pairs(function: Scope) -> list[Loop]:
    """A loop for each optimizer; none where it is not plain which gradients each is given."""
    taken = list(_gradients(function))
    applied = [c for c in calls(function) if _method_of(c) in APPLIES]
    loops = []
    for call in applied:
        optimizer = ast.unparse(call.func).rpartition(".")[0]
        names = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
        before = {name: (read, tape) for name, read, tape in taken if read.lineno < call.lineno}
        given = [pair for name, pair in before.items() if name in names]
        made = _last(function, *given[0]) if len(given) == 1 else None
        if made is None or f"{optimizer}.scale_loss" in ast.unparse(function):
            return []
        loops.append(Loop(function, given[0][0].id, made, given[0][0], optimizer, backward=False))
    losses, optimizers = {loop.loss for loop in loops}, {loop.optimizer for loop in loops}
    single = len(losses) == len(optimizers) == len(loops) == len(taken)
    return loops if single else []


def _gradients(function: Scope) -> Iterator[tuple[str, ast.Name, str | None]]:
    """What a tape gives, by the name that it gets: the loss where it is read, and the tape.

    In the order of the lines, so that a name stands for what it was given last.
    """
    nodes = (node for node in ast.walk(function) if isinstance(node, ast.Assign))
    for node in sorted(nodes, key=lambda node: node.lineno):
        value = node.value
        if not isinstance(value, ast.Call) or _method_of(value) != "gradient":
            continue
        names = [target.id for target in targets(node) if isinstance(target, ast.Name)]
        loss = value.args[0] if value.args else None
        if len(names) == 1 and isinstance(loss, ast.Name) and isinstance(value.func, ast.Attribute):
            yield names[0], loss, root(value.func.value)


def _method_of(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def _last(function: Scope, read: ast.Name, tape: str | None) -> ast.stmt | None:
    """The last statement that assigns what is differentiated, on the tape where there is one."""
    scopes = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.With) and tape in {_bound(item) for item in node.items}
    ]
    assigned = [
        node
        for scope in (scopes if tape else [function])
        for node in ast.walk(scope)
        if isinstance(node, ast.stmt)
        and any(isinstance(t, ast.Name) and t.id == read.id for t in targets(node))
        and node.lineno < read.lineno
    ]
    return max(assigned, key=lambda node: node.lineno, default=None)


def _bound(item: ast.withitem) -> str | None:
    return name_of(item.optional_vars) if item.optional_vars is not None else None


def _optimizer(function: Scope) -> str | None:
    """What takes the gradients in a function, if that is one thing."""
    found = {
        ast.unparse(call.func.value)
        for call in calls(function)
        if isinstance(call.func, ast.Attribute) and call.func.attr in APPLIES
    }
    return found.pop() if len(found) == 1 else None


def _made(tree: ast.Module, loop: Loop) -> ast.expr | None:
    """What makes the optimizer, if it is assigned once: a call.

    An object may keep what one of its methods is given; then that is what there is.
    """
    owner = owner_of(tree, loop.function)
    kept = owner is not None and loop.optimizer.startswith(f"{first_argument(loop.function)}.")
    scope = owner if kept and owner is not None else tree
    made = [
        node.value
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign)
        and any(ast.unparse(target) == loop.optimizer for target in targets(node))
    ]
    if len(made) != 1:
        return None
    handed = kept and isinstance(made[0], ast.Name)
    return made[0] if handed or isinstance(made[0], ast.Call) else None


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int | float)
