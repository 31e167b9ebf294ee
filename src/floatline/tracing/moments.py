"""Traces the kept moments of a watched training and compares each with what really happened."""

from __future__ import annotations

from dataclasses import replace

from floatline.capture.capture import Capture, KeptMoment
from floatline.errors import TraceError
from floatline.progress import Progress
from floatline.records import StepRecord, Trace
from floatline.tracing.agreement import compare


def trace_moments(capture: Capture, progress: Progress) -> tuple[Trace, ...]:
    """Traces every kept moment, in order of time.

    A trace is a second run of the step, with more operations than the first. What it shows counts
    only if the step itself, compiled as the user compiled it, showed the same; whether it did is
    part of the trace.

    Raises:
        TraceError: A step cannot be looked into.
        TrainingError: The step that raised cannot be looked into, so its error is the answer.
    """
    records = {record.step: record for record in capture.history.steps}
    traces = []
    for done, moment in enumerate(capture.moments):
        progress("tracing steps", done, len(capture.moments))
        record = records[moment.step]
        try:
            traces.append(_trace(capture, moment, record))
        except Exception:
            if capture.error is None or record.raised is None:
                raise
            # What cannot be run cannot be traced, either; its own cause is where it was raised.
            raise capture.error from capture.error.__cause__
    progress("tracing steps", len(capture.moments), len(capture.moments))
    return tuple(traces)


def _trace(capture: Capture, moment: KeptMoment, record: StepRecord) -> Trace:
    trace = capture.step.trace(moment.state, moment.batch)
    if trace.raised is not None and record.raised is None:
        raise TraceError(
            f"Step {moment.step} ran, but not while it was traced: {trace.raised}",
            "This is a fault of Floatline's: please report it, with the script if you can.",
        )
    disagreement = compare(trace, record)
    return replace(
        trace,
        step=moment.step,
        moment=moment.moment,
        loss_scale=record.loss_scale,
        agrees=disagreement is None,
        disagreement=disagreement,
    )
