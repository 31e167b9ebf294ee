"""Remedies of loss scale: computed, below 1, or none."""

from __future__ import annotations

from floatline.precision.plan import Plan
from floatline.repairs import Remedy

LEAST_SCALE = 2.0**-24
"""The floor of a scale that may fall below 1: the smallest number of float16."""


def calibrated_scale(rule: str) -> Remedy:
    """A loss scale that is computed from the gradients instead of being searched for."""
    return Remedy(
        "calibrated-loss-scale",
        "Compute the loss scale from the gradients.",
        "None that is measurable.",
        Plan().with_loss_scale("calibrated", reason="The search for a loss scale costs steps."),
        rule,
    )


def low_scale(rule: str) -> Remedy:
    """The same, and it may fall below 1."""
    return Remedy(
        "loss-scale-below-1",
        "Let the loss scale fall below 1.",
        "Small gradients lose digits while it is below 1.",
        Plan().with_loss_scale(
            "calibrated", reason="The gradients overflow at a scale of 1.", floor=LEAST_SCALE
        ),
        rule,
    )


def no_scale(rule: str) -> Remedy:
    """A scale of 1, for a step that does not carry its loss scale to the gradients."""
    return Remedy(
        "no-loss-scale",
        "Use no loss scale.",
        "Gradients below 6e-8 become 0; scaling the loss correctly would keep them.",
        Plan().with_loss_scale(
            "none", reason="The step divides gradients by a scale that they do not carry."
        ),
        rule,
    )
