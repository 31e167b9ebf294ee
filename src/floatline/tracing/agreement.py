"""Whether a traced step shows what the step itself showed."""

from __future__ import annotations

import math

from floatline.headlines import same_kind
from floatline.records import StepRecord, Trace


def compare(trace: Trace, record: StepRecord) -> str | None:
    """What the traced step and the untraced one disagree on, in words; None if on nothing.

    Example:

    >>> compare(Trace(0, "first", ()), StepRecord(0, loss=0.5, finite_gradients=False))
    'the gradients were finite in the traced step and not finite in the untraced one'
    """
    if trace.raised is not None or record.raised is not None:
        return _errors(trace, record)
    traced_gradients = not any(_nonfinite(trace, g.site) for g in trace.gradients)
    measured = bool(trace.gradients) or not record.finite_gradients
    if measured and traced_gradients != record.finite_gradients:
        return _disagreement("gradients were", traced_gradients)
    if record.loss is not None and trace.losses:
        traced_loss = not any(_nonfinite(trace, site) for site in trace.losses)
        if traced_loss != math.isfinite(record.loss):
            return _disagreement("loss was", traced_loss)
    return None


def _nonfinite(trace: Trace, site: int) -> bool:
    return trace.sites[site].statistics.nonfinite > 0


def _errors(trace: Trace, record: StepRecord) -> str | None:
    if trace.raised is not None and not same_kind(record.raised, trace.raised):
        return (
            f"the traced step raised {trace.raised}, the untraced one {record.raised or 'nothing'}"
        )
    ends = (*trace.losses, *(gradient.site for gradient in trace.gradients))
    # A trace may pass over the check that has met what is not finite.
    if trace.raised is not None or any(_nonfinite(trace, site) for site in ends):
        return None
    return f"the untraced step raised {record.raised}, and the traced one found all finite"


def _disagreement(subject: str, traced_finite: bool) -> str:
    traced, untraced = ("finite", "not finite") if traced_finite else ("not finite", "finite")
    return f"the {subject} {traced} in the traced step and {untraced} in the untraced one"
