"""Rewrites of a PyTorch loop: it gets a `GradScaler`, or unscales before it clips."""

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
    name_of,
    outside,
    scopes_of,
)
from floatline.remedies.torch_optimizers import (
    method_of,
    optimizers_given,
    optimizers_in_sight,
    optimizers_of_object,
    owner_name,
)

SCALER = "torch.amp.GradScaler"
"""PyTorch's own; its scale, its skipped steps and its state dict are known to its users."""

DEVICE = '"cuda" if torch.cuda.is_available() else "cpu"'
"""Where a loop does not say on which device it casts."""

NAMES = ("scaler", "grad_scaler")
"""What the scaler is called: the first that the file does not use."""

CLIPS = ("clip_grad_norm_", "clip_grad_value_")
"""Functions of PyTorch's that limit gradients in place, and want them unscaled."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Where a function differentiates a loss and steps an optimizer of PyTorch's.

    Attributes:
        function: The function.
        backward: The call that differentiates.
        stepped: The statement that makes the update.
        optimizer: Name of the optimizer; `self.optimizer` where an object keeps it.
        made: The statement that the scaler is made behind: that which makes the optimizer, if it
            is seen.
    """

    function: Scope
    backward: ast.Call
    stepped: ast.Expr
    optimizer: str
    made: ast.stmt


def graded_scaler(line: Statement, finding: Finding) -> list[Edit]:
    """A scaler is made beside the optimizer, scales the loss, and makes the update."""
    name = next((name for name in NAMES if name not in _names(line.tree)), None)
    loop = _loop(line) if finding.rule == "FL201" and name else None
    if loop is None or name is None or "torch" not in line.imported:
        return []
    loss = loop.backward.func.value  # type: ignore[attr-defined]  # (an attribute, as `_loops` saw)
    owner = loop.optimizer.rpartition(".")[0]
    name = f"{owner}.{name}" if owner else name
    return [
        line.after(loop.made, f"{name} = {SCALER}({_device(loop.function)})"),
        line.replacing(loss, f"{name}.scale({ast.unparse(loss)})"),
        *(
            line.before(clip, f"{name}.unscale_({loop.optimizer})")
            for clip in _clips(loop.function)[:1]
        ),
        line.replacing(loop.stepped.value, f"{name}.step({loop.optimizer})"),
        line.after(loop.stepped, f"{name}.update()"),
    ]


def unscaled_first(line: Statement, finding: Finding) -> list[Edit]:
    """A scaler takes its scale out of the gradients before the line that clips them."""
    clips = any(name_of(call.func) in CLIPS for call in calls(line.node))
    if finding.rule != "FL404" or not clips:
        return []
    scope = line.function or line.tree
    # The loss may be scaled in another function than that which clips.
    scalers = {name for call in calls(line.tree) if (name := _scales(call))}
    scalers &= {owner_name(call) for call in calls(scope) if method_of(call) == "step"}
    asked = [call for call in calls(scope) if owner_name(call) in scalers]
    stepped = {ast.unparse(c.args[0]) for c in asked if method_of(c) == "step" and c.args}
    unscaled = any(method_of(call) == "unscale_" for call in asked)
    if len(scalers) != 1 or len(stepped) != 1 or unscaled:
        return []
    return [line.before(line.node, f"{scalers.pop()}.unscale_({stepped.pop()})")]


def _scales(call: ast.Call) -> str | None:
    """The scaler in `scaler.scale(loss).backward()`."""
    scaled = call.func.value if isinstance(call.func, ast.Attribute) else None
    if method_of(call) != "backward" or not isinstance(scaled, ast.Call):
        return None
    return owner_name(scaled) if method_of(scaled) == "scale" else None


def _loop(line: Statement) -> Loop | None:
    """The loop around a line; that of its file where it stands in none and there is one only."""
    if "GradScaler" in line.text:
        return None
    around = line.function or outside(line.tree)
    loops = list(_loops(line.tree, around))
    if not loops:
        loops = [loop for function in scopes_of(line.tree) for loop in _loops(line.tree, function)]
    return loops[0] if len(loops) == 1 else None


def _loops(tree: ast.Module, function: Scope) -> Iterator[Loop]:
    """The one loop of a function, where nothing but clipping looks at its gradients."""
    backwards = [call for call in calls(function) if method_of(call) == "backward"]
    made = (
        optimizers_in_sight(tree, function)
        | optimizers_of_object(tree, function)
        | optimizers_given(tree, function)
    )
    steps = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and method_of(node.value) == "step"
        and ast.unparse(node.value.func).removesuffix(".step") in made
    ]
    if len(backwards) != 1 or len(steps) != 1 or _reads_gradients(function):
        return
    call = steps[0].value
    if not isinstance(call, ast.Call) or call.args or call.keywords:
        return  # A closure computes the loss several times.
    optimizer = ast.unparse(call.func).removesuffix(".step")
    yield Loop(function, backwards[0], steps[0], optimizer, made[optimizer])


def _reads_gradients(function: Scope) -> bool:
    """Whether the user's own code looks at gradients, or asks for others than those of a loss."""
    named = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    return bool(named & {"grad", "autograd", "register_hook"})


def _clips(function: Scope) -> list[ast.stmt]:
    """The statements that clip gradients, in order."""
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Expr | ast.Assign)
        and any(name_of(call.func) in CLIPS for call in calls(node))
    ]
    return sorted(found, key=lambda node: node.lineno)


def _device(function: Scope) -> str:
    """The device of the loop's autocast, where it is written there."""
    for call in calls(function):
        if name_of(call.func) == "autocast":
            named = [k.value for k in call.keywords if k.arg == "device_type"]
            given = [*call.args[:1], *named]
            if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
                return ast.unparse(given[0]).replace("'", '"')
    return DEVICE


def _names(tree: ast.Module) -> set[str]:
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return named | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
