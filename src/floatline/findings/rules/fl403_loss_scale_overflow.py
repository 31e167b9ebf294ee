"""FL403: loss-scale-overflow."""

from __future__ import annotations

import math
from typing import final

from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.outcome import ABSURD_SCALE
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.words import number
from floatline.records import Severity


@final
class LossScaleOverflow(Rule):
    """The loss scale grows without bound and becomes infinite.

    What it means:
        A dynamic loss scale doubles after a number of finite steps. Steps whose gradients are
        all zero are finite at any scale, so it doubles on and on; Keras 3 has no ceiling.

    Evidence:
        A loss scale that is infinite, or above what any nonzero gradient allows.

    Why it matters:
        At an infinite scale every step is skipped for ever, although the weights are finite.

    Remedy:
        Find out why the gradients are zero; let the scale grow more slowly, or use a fixed one.

    When it is harmless:
        As long as the scale is finite: the next nonzero gradients bring it down, step by step.

    References:
        - google/flax#2547: the same in Flax.
        - keras.optimizers.LossScaleOptimizer, argument dynamic_growth_steps.
    """

    id = "FL403"
    cause = "loss-scale-overflow"
    phase = "update"
    remedies = (
        "Find out why the gradients are all zero: empty batches, masked losses, dead layers.",
        "Use the usual dynamic_growth_steps=2000, or a fixed loss scale.",
    )

    def check(self, case: Case) -> Result:
        """Found when the scale left every useful range."""
        steps = [s for s in case.evidence.history.steps if s.loss_scale is not None]
        highest = max(steps, key=lambda s: s.loss_scale or 0.0, default=None)
        if highest is None or (highest.loss_scale or 0.0) <= ABSURD_SCALE:
            return Clear()
        scale = highest.loss_scale or 0.0
        if scale <= (steps[0].loss_scale or 0.0):
            return Clear()
        severity: Severity = "failure" if math.isinf(scale) else "advice"
        reached = "is infinite" if math.isinf(scale) else f"reached {number(scale)}"
        numbers = {"step": highest.step, "largest_loss_scale": scale, **harm(case)}
        summary = f"The loss scale {reached} at step {highest.step}, for it never met a gradient"
        return self.found(summary, numbers, severity=severity)
