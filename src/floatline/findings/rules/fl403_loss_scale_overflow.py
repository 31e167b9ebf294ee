"""FL403: loss-scale-overflow."""

from __future__ import annotations

import math
from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.outcome import ABSURD_SCALE
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.words import number
from floatline.formats import FORMATS
from floatline.records import Severity

HALF = FORMATS["float16"]
"""No factor takes a scale from here to float32's end in one step; only float16 ends in between."""


@final
class LossScaleOverflow(Rule):
    """The loss scale grows without bound and becomes infinite.

    What it means:
        A dynamic loss scale doubles after a number of finite steps. Steps whose gradients are
        all zero are finite at any scale, so it doubles on and on; Keras 3 has no ceiling. A scale
        that a loop of its own keeps in float16 is infinite after 32768 already.

    Evidence:
        A loss scale that is infinite, or above what any nonzero gradient allows.

    Why it matters:
        At an infinite scale every step is skipped for ever, although the weights are finite.

    Remedy:
        Find out why the gradients are zero; let the scale grow more slowly, or use a fixed one.
        Keep a loss scale in float32.

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
        OfKeras(
            "Use the usual dynamic_growth_steps=2000, or a fixed loss scale.",
            instead="Let the scale grow after 2000 finite steps, as usual, or use a fixed one.",
            torch="Use the usual growth_interval=2000 of GradScaler, or a fixed loss scale.",
        ),
        (
            "Keep the loss scale in float32, where it is made, too: what is float16 stays float16"
            " when it is doubled."
        ),
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
        numbers = {"step": highest.step, "largest_loss_scale": scale, **harm(case)}
        last = max(s.loss_scale or 0.0 for s in steps if s.step < highest.step)
        if math.isinf(scale) and last <= HALF.max_finite:
            summary = (
                f"The loss scale grew from {number(last)} to infinity at step {highest.step}: it is"
                f" kept in float16, which ends at {HALF.max_finite:.0f}"
            )
            return self.found(summary, numbers, remedies=self.remedies[2:])
        reached = "is infinite" if math.isinf(scale) else f"reached {number(scale)}"
        summary = f"The loss scale {reached} at step {highest.step}, for it never met a gradient"
        return self.found(summary, numbers, severity=severity, remedies=self.remedies[:2])
