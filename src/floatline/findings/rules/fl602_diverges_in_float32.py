"""FL602: diverges-in-float32."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.rule import CannotTell, Clear, Result, Rule


@final
class DivergesInFloat32(Rule):
    """The training fails in float32 in the same way: precision is not the cause.

    What it means:
        The same steps on the same batches in float32 become non-finite or blow up as well: a
        learning rate that is too high, gradients that explode, a loss without a bound.

    Evidence:
        The float32 training fails by about the same step.

    Why it matters:
        No change of precision helps.

    Remedy:
        Lower the learning rate, clip gradients, look at the data and the loss, in float32.

    When it is harmless:
        Never, but it is not a question of precision.

    References:
        - I. Goodfellow et al., Deep Learning, 2016, chapter 11.4 on choosing hyper-parameters.
    """

    id = "FL602"
    cause = "diverges-in-float32"
    phase = "update"
    remedies = (
        "Lower the learning rate, or warm it up.",
        "Clip the gradients: clipnorm or global_clipnorm of the optimizer.",
        "Make the training work in float32 first, then diagnose again.",
    )

    def check(self, case: Case) -> Result:
        """Asks the float32 reference."""
        state = case.outcome
        fails = state.ends_broken or state.diverged
        if state.float32_fails is None and fails:
            return CannotTell("the same steps in float32")
        if not state.float32_fails:
            return Clear()
        how = (
            "the loss ends non-finite" if state.ends_broken else "the loss ends far above its start"
        )
        return self.found(f"Float32 fails in the same way: {how}", harm(case))
