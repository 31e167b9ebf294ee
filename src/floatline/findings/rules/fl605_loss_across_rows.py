"""FL605: loss-across-rows."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.crossings import crossing
from floatline.findings.origin_rule import harm
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.words import where
from floatline.records import Severity


@final
class LossAcrossRows(Rule):
    """The loss compares every prediction with every target, because their shapes broadcast.

    What it means:
        A prediction of shape (n, 1) and a target of shape (n,) make (n, n). When the loss averages
        all of it, which target belongs to which row is lost: what all predictions then learn is
        one number, such as the mean of the targets. No precision helps.

    Evidence:
        An operation on n values that depend on the weights and n that come from the batch alone,
        with n * n results that all count alike in the loss. Advice only, where predictions and
        batch also meet in another way outside of layers: then a part of the loss is meant so.

    Why it matters:
        The loss falls at first and the model seems to train, but it cannot learn.

    Remedy:
        Give both sides the same shape before they meet.

    When it is harmless:
        When every pair is meant: then predictions are mostly compared with each other as well, or
        a mask chooses pairs, and the rule says nothing.

    References:
        - C. Harris et al., Array programming with NumPy, Nature 585, 2020, on broadcasting.
    """

    id = "FL605"
    cause = "loss-across-rows"
    phase = "forward"
    remedies = (
        "Give both sides one shape before they meet: prediction[:, 0], or target[:, None].",
        "Let the loss refuse others: assert prediction.shape == target.shape.",
    )

    def check(self, case: Case) -> Result:
        """Looks at how the losses of the traced steps are made."""
        for trace in case.evidence.traces:
            found = crossing(trace) if trace.agrees is not False else None
            if found is None:
                continue
            pairs = found.rows * found.rows
            summary = (
                f"{where(found.site.place)} sets each of {found.rows} predictions against each of"
                f" {found.rows} values of the batch: {pairs} pairs, which all count alike in the"
                " loss, so that no row learns from its own"
            )
            numbers = {"step": trace.step, "rows": found.rows, "pairs": pairs, **harm(case)}
            severity: Severity = "failure" if found.only else "advice"
            return self.found(summary, numbers, place=found.site.place, severity=severity)
        return Clear()
