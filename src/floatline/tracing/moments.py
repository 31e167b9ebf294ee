"""Traces the kept moments of a watched training and compares each with what really happened."""

from __future__ import annotations

import math
from dataclasses import replace

from floatline.capture.capture import Capture, KeptMoment
from floatline.progress import Progress
from floatline.records import StepRecord, Trace


def trace_moments(capture: Capture, progress: Progress) -> tuple[Trace, ...]:
    """Traces every kept moment, in order of time.

    A trace is a second run of the step, with more operations than the first. What it shows counts
    only if the step itself, compiled as the user compiled it, showed the same; whether it did is
    part of the trace.
    """
    records = {record.step: record for record in capture.history.steps}
    traces = []
    for done, moment in enumerate(capture.moments):
        progress("tracing steps", done, len(capture.moments))
        traces.append(_trace(capture, moment, records[moment.step]))
    progress("tracing steps", len(capture.moments), len(capture.moments))
    return tuple(traces)


def _trace(capture: Capture, moment: KeptMoment, record: StepRecord) -> Trace:
    trace = capture.step.trace(moment.state, moment.batch)
    disagreement = compare(trace, record)
    return replace(
        trace,
        step=moment.step,
        moment=moment.moment,
        loss_scale=record.loss_scale,
        agrees=disagreement is None,
        disagreement=disagreement,
    )


def compare(trace: Trace, record: StepRecord) -> str | None:
    """What the traced step and the untraced one disagree on, in words; None if on nothing.

    Example:

    >>> compare(Trace(0, "first", ()), StepRecord(0, loss=0.5, finite_gradients=False))
    'the gradients were finite in the traced step and not finite in the untraced one'
    """
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


def _disagreement(subject: str, traced_finite: bool) -> str:
    traced, untraced = ("finite", "not finite") if traced_finite else ("not finite", "finite")
    return f"the {subject} {traced} in the traced step and {untraced} in the untraced one"
