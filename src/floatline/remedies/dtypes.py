"""Remedies of dtype: one layer, or the whole model, in another precision."""

from __future__ import annotations

from floatline.precision.plan import Plan
from floatline.repairs import Remedy

_FLOAT32_COST = "This layer computes at float32 speed and keeps float32 activations."

_COSTS = {
    "mixed_bfloat16": "Same speed and memory on hardware with bfloat16; 8 significant bits.",
    "mixed_float16": "Weights take float32 memory once more beside their float16 copies.",
    "float32": "All of the speed and memory that mixed precision gains.",
}


def float32_layer(layer: str, rule: str | None = None) -> Remedy:
    """One layer, and what is inside it, in float32.

    Example:

    >>> float32_layer("head").summary
    "Keep layer 'head' in float32."
    """
    reason = f"Its numbers leave the range or the precision of 16 bits ({rule})."
    return Remedy(
        "float32-layer",
        f"Keep layer {layer!r} in float32.",
        _FLOAT32_COST,
        Plan().with_rule("float32", path=layer, reason=reason if rule else "Reads such numbers."),
        rule,
    )


def float32_output(layer: str, rule: str) -> Remedy:
    """A layer that the loss reads in float32, so that the loss computes in float32, too."""
    reason = f"The loss computes in the dtype of what it is given ({rule})."
    return Remedy(
        "float32-output",
        f"Keep output layer {layer!r}, and with it the loss, in float32.",
        "One layer and the loss compute at float32 speed.",
        Plan().with_rule("float32", path=layer, reason=reason),
        rule,
    )


def float32_inputs(model: str, rule: str) -> Remedy:
    """A model that hands what it is given on as it is; its layers compute as before.

    Example:

    >>> float32_inputs("ranker", "FL303").plan.rules[0].sublayers
    False
    """
    reason = f"Its inputs do not survive 16 bits ({rule})."
    return Remedy(
        "float32-inputs",
        f"Let model {model!r} take its inputs in float32.",
        "What the model computes outside of its layers is float32.",
        Plan().with_rule("float32", path=model, sublayers=False, reason=reason),
        rule,
    )


def everywhere(policy: str) -> Remedy:
    """The whole model under one policy."""
    return Remedy(
        f"all-{policy.replace('_', '-')}",
        f"Use {policy} in the whole model.",
        _COSTS[policy],
        Plan.of(policy, "The fault is not confined to a few layers."),
    )
