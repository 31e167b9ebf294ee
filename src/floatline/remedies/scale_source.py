"""Rewrites of a training loop that handles its loss scale wrongly, or has none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from floatline.records import Finding
from floatline.remedies.statement import (
    Edit,
    Function,
    Statement,
    calls,
    functions,
    name_of,
    root,
    targets,
)

WRAPPER = "LossScaleOptimizer"

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
    """

    loss: str
    made: ast.stmt
    read: ast.Name
    optimizer: str
    backward: bool


def scaled_loss(line: Statement, finding: Finding) -> list[Edit]:
    """The loss is multiplied by the scale before it is differentiated."""
    loop = _loop(line) if finding.rule == "FL404" else None
    if loop is None or any(name_of(c.func) in CLIPS for c in calls(line.node)):
        return []
    return _scaled(line, loop)


def wrapped_optimizer(line: Statement, finding: Finding) -> list[Edit]:
    """A loop's own optimizer gets a loss scale, and the loss is multiplied by it."""
    loop = _loop(line) if finding.rule == "FL201" else None
    made = None if loop is None else _made(line.tree, loop.optimizer)
    if loop is None or made is None or name_of(made.func) == WRAPPER:
        return []
    module = ast.unparse(made.func).rpartition(".")[0]
    if not module and "keras" not in line.imported:
        return []
    wrapper = f"{module or 'keras.optimizers'}.{WRAPPER}"
    begin, end = line.at(made)
    return [(begin, end, f"{wrapper}({line.text[begin:end]})"), *_scaled(line, loop)]


def clipped_later(line: Statement, finding: Finding) -> list[Edit]:
    """A bound on gradients that carry the loss scale is multiplied by it, too."""
    function = line.function
    if finding.rule != "FL404" or function is None:
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
    around = [line.function] if line.function is not None else []
    loops = [loop for function in around for loop in _loops(function)]
    if not loops:
        loops = [loop for function in functions(line.tree) for loop in _loops(function)]
    return loops[0] if len(loops) == 1 else None


def _loops(function: Function) -> Iterator[Loop]:
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
            yield Loop(read.id, made, read, optimizer, backward)


def _last(function: Function, read: ast.Name, tape: str | None) -> ast.stmt | None:
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


def _optimizer(function: Function) -> str | None:
    """What takes the gradients in a function, if that is one thing."""
    found = {
        ast.unparse(call.func.value)
        for call in calls(function)
        if isinstance(call.func, ast.Attribute) and call.func.attr in APPLIES
    }
    return found.pop() if len(found) == 1 else None


def _made(tree: ast.Module, name: str) -> ast.Call | None:
    """The call that makes the optimizer, if it is assigned once."""
    made = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(ast.unparse(target) == name for target in targets(node))
    ]
    return made[0] if len(made) == 1 and isinstance(made[0], ast.Call) else None


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int | float)
