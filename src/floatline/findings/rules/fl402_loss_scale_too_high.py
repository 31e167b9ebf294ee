"""FL402: loss-scale-too-high."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.fixed_scale import FixedScale, fixed_too_high
from floatline.findings.origin_rule import harm, number_of_end
from floatline.findings.outcome import SEARCH_STEPS
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.scale_advice import TOO_HIGH, scale_advice
from floatline.findings.words import number
from floatline.records import Severity

LOWER_THE_NUMBER = (
    "Lower that number to what fits; a power of two changes no digits.",
    "Let the scale follow the gradients: torch.amp.GradScaler, or floatline.LossScaler.",
)
"""What to do where the scale is a number of the code."""

DEFAULT_SCALE = 2.0**15
"""Where Keras, apex and others start the search."""


@final
class LossScaleTooHigh(Rule):
    """The loss scale starts so high that many steps are skipped before one fits.

    What it means:
        A dynamic loss scale halves at every step that overflows. Started far above what the
        gradients allow, it wastes a step for each halving; a fixed one never comes down.

    Evidence:
        An initial scale above the usual 2**15, more skipped steps at the start than the usual
        search takes, and where the scale settled. Or a number that multiplies the loss and is
        divided out of the gradients, at which they overflow although a smaller one would do.

    Why it matters:
        Skipped steps are lost: their batches teach nothing.

    Remedy:
        Start at the scale where it settled.

    When it is harmless:
        In a long training a few dozen skipped steps do not matter; then this is advice.

    References:
        - keras.optimizers.LossScaleOptimizer, argument initial_scale.
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740, section 3.2.
    """

    id = "FL402"
    cause = "loss-scale-too-high"
    phase = "configuration"
    remedies = (
        "Start lower: LossScaleOptimizer(optimizer, initial_scale=...) with the settled scale.",
    )

    def check(self, case: Case) -> Result:
        """Found when only the search from a raised initial scale costs the steps."""
        fixed = fixed_too_high(case)
        if fixed:
            return self._fixed(case, fixed)
        if not searched_from_above(case):
            return Clear()
        scales = [s.loss_scale for s in case.evidence.history.steps if s.loss_scale is not None]
        severity: Severity = "failure" if case.outcome.wasted else "advice"
        summary = (
            f"{case.outcome.skipped} of {case.outcome.steps} steps were skipped while the loss"
            f" scale came down from {number(scales[0])} to {number(scales[-1])}"
        )
        numbers = {"first_loss_scale": scales[0], "last_loss_scale": scales[-1], **harm(case)}
        advice = scale_advice(case, TOO_HIGH)
        return self.found(summary, numbers, severity=severity, remedies=advice)

    def _fixed(self, case: Case, fixed: FixedScale) -> Result:
        summary = (
            f"The loss is multiplied by {number_of_end(fixed.scale)}, a fixed number, and its"
            f" gradients overflow: up to {number_of_end(fixed.fits)} they fit"
        )
        numbers = {"loss_scale": fixed.scale, "fitting_loss_scale": fixed.fits, **harm(case)}
        place = fixed.site.place
        return self.found(summary, numbers, place=place, remedies=LOWER_THE_NUMBER)


def searched_from_above(case: Case) -> bool:
    """Whether the skipped steps are the search from a scale that was set too high."""
    state = case.outcome
    scales = [s.loss_scale for s in case.evidence.history.steps if s.loss_scale is not None]
    if not scales or state.ends_broken or state.skipped <= SEARCH_STEPS:
        return False
    usual = DEFAULT_SCALE / 2.0**SEARCH_STEPS
    return scales[0] > DEFAULT_SCALE and scales[-1] >= usual and not state.nonfinite_losses
