"""FL202: loss-scale-too-low."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.scale_advice import TOO_LOW
from floatline.findings.underflow import gradient_underflow, scales, suspicious


@final
class LossScaleTooLow(Rule):
    """Gradients underflow to zero although the loss is scaled: the scale is too low.

    What it means:
        A fixed loss scale was chosen too small, or a dynamic one was driven down by a single
        operation whose gradient is far larger than all others.

    Evidence:
        A loss scale in force, and layers of which float32 has a gradient and this precision has
        not: the flushed share per layer. Either training does worse than float32, or the layers
        stand still in the first and in the last traced step while others receive a gradient; or
        they end where they began, behind one that starts at zero, and float32's loss is better.

    Why it matters:
        The layers do not learn, or learn slowly, without any NaN or warning.

    Remedy:
        Raise the scale; where something overflows at that scale, compute that operation in
        float32 first.

    When it is harmless:
        When the flushed gradients are those of samples that are already fitted, or of biases
        that a normalisation cancels: the loss keeps pace with float32. A scale that fell because
        the forward pass breaks, at any scale, is a symptom of that.

    References:
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740, section 3.2.
        - keras.optimizers.LossScaleOptimizer, arguments initial_scale, dynamic_growth_steps.
    """

    id = "FL202"
    cause = "loss-scale-too-low"
    phase = "backward"
    remedies = (
        "Start from a higher scale: LossScaleOptimizer(optimizer, initial_scale=2.0**15) or more.",
        "Let the scale grow faster: a smaller dynamic_growth_steps.",
        "Compute the operation with the largest gradients in float32, so that the scale can rise.",
    )

    def check(self, case: Case) -> Result:
        """Looks at gradients only when the loss is scaled."""
        if not scales(case) or _driven_down(case):
            return Clear()
        return gradient_underflow(self, case, "the loss scale is too low for it", TOO_LOW)

    def asks_float32(self, case: Case) -> bool:
        """Where gradients are flushed, the loss has to say whether that matters."""
        return suspicious(case)


def _driven_down(case: Case) -> bool:
    """Whether the scale fell in steps that were skipped for a fault of the forward pass."""
    state, steps = case.outcome, case.evidence.history.steps
    kept = [step.loss_scale for step in steps if step.loss_scale is not None]
    fell = bool(kept) and kept[-1] < kept[0]
    harmed = state.broken or bool(state.worse)
    return fell and harmed and any(origin.forward for origin in case.loud)
