"""Remedies of the optimizer: its epsilon, its learning rate, the clipping of gradients."""

from __future__ import annotations

from floatline.precision.plan import Plan
from floatline.repairs import Remedy

FLOAT16_EPSILON = 1e-3
"""An epsilon for moments in float16: a second moment below 2**-24 is 0 there, so its root was below
2**-12 or 2.4e-4, and an epsilon above that keeps the update of such a weight small."""

CLIP_NORM = 1.0
"""Global norm to which gradients are clipped: the usual one for recurrent networks and
transformers (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063)."""


def optimizer_epsilon(rule: str) -> Remedy:
    """An epsilon that float16 can hold."""
    return Remedy(
        "optimizer-epsilon",
        f"Give the optimizer the epsilon {FLOAT16_EPSILON:g}.",
        "Weights with gradients below it move more slowly.",
        Plan().with_optimizer(
            "epsilon", FLOAT16_EPSILON, reason="The present one is 0 in the dtype of the weights."
        ),
        rule,
    )


def learning_rate(value: float, rule: str) -> Remedy:
    """A lower learning rate."""
    return Remedy(
        "learning-rate",
        f"Lower the learning rate to {value:g}.",
        "No time or memory; training may take more steps.",
        Plan().with_optimizer(
            "learning_rate", value, reason="Steps are so large that the loss grows, in float32 too."
        ),
        rule,
    )


def clipped_gradients(rule: str) -> Remedy:
    """Gradients clipped to a global norm."""
    return Remedy(
        "gradient-clipping",
        f"Clip gradients to a global norm of {CLIP_NORM:g}.",
        "A norm over all gradients in each step.",
        Plan().with_optimizer(
            "global_clipnorm", CLIP_NORM, reason="Single steps are so large that the loss grows."
        ),
        rule,
    )
