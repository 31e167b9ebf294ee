"""Traces the kept moments of a watched training and compares each with what really happened."""

from __future__ import annotations

from dataclasses import replace

from floatline.backends.interface import Step
from floatline.capture.capture import Capture, KeptMoment
from floatline.errors import OutOfMemoryError, TraceError
from floatline.progress import Progress
from floatline.records import StepRecord, Trace
from floatline.tracing.agreement import compare
from floatline.tracing.parts import Cut, fitting, trace_part


def trace_moments(capture: Capture, progress: Progress) -> tuple[Trace, ...]:
    """Traces every kept moment, in order of time.

    A trace is a second run of the step, with more operations than the first. What it shows counts
    only if the step itself, compiled as the user compiled it, showed the same; whether it did is
    part of the trace.

    Raises:
        TraceError: A step cannot be looked into.
        OutOfMemoryError: Its trace does not fit into memory, not even that of one row.
        TrainingError: The step that raised cannot be looked into, so its error is the answer.
    """
    records = {record.step: record for record in capture.history.steps}
    traces: list[Trace] = []
    cut: Cut | None = None
    for done, moment in enumerate(capture.moments):
        progress("tracing steps", done, len(capture.moments))
        record = records[moment.step]
        try:
            trace, cut = _trace(capture, moment, record, cut)
            traces.append(trace)
        except Exception:
            if capture.error is None or record.raised is None:
                raise
            # What cannot be run cannot be traced, either; its own cause is where it was raised.
            raise capture.error from capture.error.__cause__
    progress("tracing steps", len(capture.moments), len(capture.moments))
    return tuple(traces)


def _trace(
    capture: Capture, moment: KeptMoment, record: StepRecord, cut: Cut | None
) -> tuple[Trace, Cut | None]:
    """The trace of a moment, in part where the whole does not fit, and how it was cut."""
    trace, seen, cut = _as_it_fits(capture.step, moment, record, cut)
    if trace.raised is not None and record.raised is None:
        raise TraceError(
            f"Step {moment.step} ran, but not while it was traced: {trace.raised}",
            "This is a fault of Floatline's: please report it, with the script if you can.",
        )
    disagreement = compare(trace, seen)
    finished = replace(
        trace,
        step=moment.step,
        moment=moment.moment,
        loss_scale=record.loss_scale,
        agrees=disagreement is None,
        disagreement=disagreement,
    )
    return finished, cut


def _as_it_fits(
    step: Step, moment: KeptMoment, record: StepRecord, cut: Cut | None
) -> tuple[Trace, StepRecord, Cut | None]:
    """The trace of a moment, what the untraced step did with the same rows, and the cut.

    Where an earlier moment did not fit, one of as many rows is not tried as a whole.
    """
    known = cut if cut is not None and step.rows(moment.batch) == cut.whole else None
    try:
        if known is None:
            return step.trace(moment.state, moment.batch), record, cut
        part = trace_part(step, moment, record, known)
        return part.trace, part.record, known
    except OutOfMemoryError as error:
        short = error
    found = fitting(step, moment, record, short)
    part = trace_part(step, moment, record, found)
    return part.trace, part.record, found
