"""FL401: loss-scale-collapse."""

from __future__ import annotations

import math
from typing import final

from floatline.findings.case import Case
from floatline.findings.origin_rule import FLOAT32_FIRST, harm
from floatline.findings.rule import CannotTell, Clear, Result, Rule
from floatline.findings.words import number
from floatline.records import Number


@final
class LossScaleCollapse(Rule):
    """Steps never stop being skipped, and the loss scale falls towards zero.

    What it means:
        Every step is non-finite, so a dynamic loss scale halves at each. It is the messenger of
        another fault, named before this one when it was found: no scale repairs a forward pass.

    Evidence:
        The steps at the end of the training are all skipped, more than a search for the scale
        takes; the scale at the beginning and at the end.

    Why it matters:
        No weight changes any more. Keras 3 has no floor: after some 150 steps the scale is 0,
        and the next finite step divides 0 by 0 and writes NaN into every weight.

    Remedy:
        Repair the operation that is non-finite.

    When it is harmless:
        Some skipped steps at the start, or one now and then, are the search for the scale.

    References:
        - keras-team/keras#16100: asks for a warning when the scale is hopeless.
        - google/flax#2547: a dynamic scale without bounds.
    """

    id = "FL401"
    cause = "loss-scale-collapse"
    phase = "update"
    remedies = (
        "Repair the operation that is non-finite in every step; the loss scale only follows it.",
        "Compute the loss and the last layers in float32, and see whether steps are still skipped.",
    )

    def check(self, case: Case) -> Result:
        """Found when scaled training ends in skipped steps."""
        steps = case.evidence.history.steps
        if not case.outcome.ends_broken or not steps or not steps[-1].skipped:
            return Clear()
        if case.outcome.float32_fails:
            return CannotTell(FLOAT32_FIRST)
        scales = [step.loss_scale for step in steps if step.loss_scale is not None]
        if scales and math.isinf(scales[-1]):
            return Clear()  # It never fell: FL403 tells why.
        numbers: dict[str, Number] = harm(case)
        fall = ""
        if scales:
            numbers |= {"first_loss_scale": scales[0], "last_loss_scale": scales[-1]}
            fall = f", the loss scale went from {number(scales[0])} to {number(scales[-1])}"
        skipped = case.outcome.skipped
        return self.found(f"{skipped} of {len(steps)} steps were skipped to the end{fall}", numbers)
