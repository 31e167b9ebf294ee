"""FL604: non-finite-in-float32."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.outcome import (
    DIVERGED_RATIO,
    SEARCH_STEPS,
    WASTED_SHARE,
    bad,
    nonfinite,
)
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.words import number, where

ALIGNMENT = (
    "Look for targets longer than their inputs: they have no alignment, and an infinite loss.",
    "Leave such samples out; PyTorch's CTCLoss does so with zero_infinity=True.",
)
"""What to do where the loss is CTC, and no guard of its expression helps."""


@final
class NonFiniteInFloat32(Rule):
    """An operation is non-finite in float32 too, at finite inputs.

    What it means:
        0 / 0, the logarithm of 0, the root of a negative number, an exponential beyond 88: the
        expression itself has no finite value there. No precision helps.

    Evidence:
        The first operation whose float32 result is NaN or infinite although its float32 inputs
        are finite, on the way to the loss or a gradient, in a training that breaks, or that loses
        many steps in float32 as well; or a gradient that is not finite in float32 after a step that
        raised an error.

    Why it matters:
        Those steps are lost in every precision.

    Remedy:
        Guard the expression: an epsilon, a clip, or the guarded form of the operation.

    When it is harmless:
        When where() discards the value, in the forward pass and in the gradient.

    References:
        - IEEE 754-2019, section 7: invalid operation and division by zero.
    """

    id = "FL604"
    cause = "non-finite-in-float32"
    phase = "forward"
    remedies = (
        "Guard the expression: add an epsilon to the denominator, clip the argument.",
        "With where, replace the argument as well as the result: the gradient sees both branches.",
    )

    def check(self, case: Case) -> Result:
        """Found when training breaks at it and float32 is not known to survive."""
        state = case.outcome
        if not case.breakdowns and case.evidence.history.stopped == "error":
            return self._unseen(case)
        fails = state.ends_broken and state.float32_fails is not False
        if not case.breakdowns or not (fails or _wastes_alike(case)):
            return Clear()
        origin = case.breakdowns[0]
        numbers = origin.site.statistics
        summary = (
            f"{where(origin.site.place)} has {numbers.shadow_nonfinite} of {numbers.count} elements"
            " that are not finite in float32 either"
        )
        evidence = {"step": origin.trace.step, "elements": numbers.count}
        counts = {"shadow_nan": numbers.shadow_nan, "shadow_inf": numbers.shadow_inf}
        found = {**evidence, **counts, **harm(case)}
        place, passed = origin.site.place, origin.propagation
        advice = ALIGNMENT if "ctc" in place.operation.lower() else ()
        return self.found(summary, found, place=place, propagation=passed, remedies=advice)

    def _unseen(self, case: Case) -> Result:
        """Asks float32's gradients: the step raised before a trace of it came to its own."""
        steps = case.evidence.reference.steps if case.evidence.reference else ()
        first = next((step for step in steps if bad(step)), None)
        if first is None or first.loss is None or nonfinite(first.loss):
            return Clear()
        start = steps[0].loss
        if start is None or abs(first.loss) > DIVERGED_RATIO * abs(start):
            return Clear()
        return self.found(
            f"The gradient of {first.nonfinite_variables[0]} is not finite in float32 either, "
            f"where the loss is {number(first.loss)}",
            {"step": first.step, **harm(case)},
        )


def _wastes_alike(case: Case) -> bool:
    """Whether a loss scale skips a decisive share of the steps, and would do so in float32."""
    reference = case.evidence.reference
    steps = (reference.rebuilt or reference.steps) if reference else ()
    lost = sum(map(bad, steps))
    return case.outcome.wasted and lost > SEARCH_STEPS and lost >= WASTED_SHARE * len(steps)
