"""Kept moments are traced in order, and what a trace shows is held against what happened."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from floatline.capture.capture import KeptMoment
from floatline.errors import TraceError, TrainingError
from floatline.progress import silent
from floatline.records import Statistics, StepRecord, Trace
from floatline.tracing.agreement import compare
from floatline.tracing.moments import trace_moments
from tests.tracing.fakes import ToldStep, capture, traced

GOOD, INFINITE, POISON = Statistics(2), Statistics(2, inf=1), Statistics(2, nan=1)
NAN, INF = float("nan"), float("inf")


def record(loss: float | None = 1.0, *, finite: bool = True) -> StepRecord:
    return StepRecord(0, loss, finite_gradients=finite)


@pytest.mark.parametrize(
    ("trace", "seen"),
    [
        (traced(GOOD, GOOD), record()),
        (traced(GOOD, GOOD, INFINITE), record(finite=False)),
        (traced(POISON, POISON), record(NAN, finite=False)),
        (traced(INFINITE, GOOD), record(INF)),
        (traced(INFINITE, GOOD), record(None)),
        (traced(None, GOOD), record(NAN)),
        (traced(GOOD), record()),
        (traced(), record()),
    ],
)
def test_a_trace_that_shows_what_happened_agrees(trace: Any, seen: StepRecord) -> None:
    assert compare(trace, seen) is None


@pytest.mark.parametrize(
    ("trace", "seen", "words"),
    [
        (traced(GOOD, GOOD), record(finite=False), "finite in the traced step and not finite"),
        (traced(GOOD, POISON), record(), "gradients were not finite in the traced step and finite"),
        (traced(GOOD), record(finite=False), "gradients were finite in the traced step and not"),
        (traced(GOOD, GOOD), record(NAN), "loss was finite in the traced step and not finite"),
        (traced(INFINITE, GOOD), record(), "loss was not finite in the traced step and finite"),
    ],
)  # fmt: skip
def test_a_trace_that_shows_something_else_says_what(
    trace: Any, seen: StepRecord, words: str
) -> None:
    assert words in str(compare(trace, seen))


def test_every_kept_moment_is_traced_from_its_state() -> None:
    step = ToldStep(traced(GOOD, GOOD))
    records = [StepRecord(0, 1.0, loss_scale=8.0), StepRecord(7, NAN, finite_gradients=False)]
    moments = [KeptMoment(0, "first", "state 0", "batch 0"), KeptMoment(7, "symptom", "s7", "b7")]
    first, last = trace_moments(capture(step, records, moments), silent)
    assert step.asked == [("state 0", "batch 0"), ("s7", "b7")]
    assert (first.step, first.moment, first.loss_scale) == (0, "first", 8.0)
    assert (first.agrees, first.disagreement) == (True, None)
    assert (last.step, last.moment, last.agrees) == (7, "symptom", False)
    assert last.disagreement is not None
    assert last.sites == first.sites


RAISED = StepRecord(0, NAN, raised="ValueError: found nan")


@pytest.mark.parametrize(
    "trace",
    [
        traced(POISON, POISON),
        traced(GOOD, INFINITE),
        dataclasses.replace(traced(), raised="ValueError: found nan"),
    ],
)
def test_a_step_that_raised_agrees_with_what_it_met(trace: Trace) -> None:
    assert compare(trace, RAISED) is None


def test_a_step_that_raised_disagrees_with_finite_numbers_and_with_an_error_of_the_traces() -> None:
    assert "the traced one found all finite" in str(compare(traced(GOOD, GOOD), RAISED))
    other = dataclasses.replace(traced(POISON), raised="TypeError: of the trace")
    assert "the untraced one ValueError" in str(compare(other, RAISED))


def test_an_error_of_the_trace_alone_is_not_hidden() -> None:
    failing = ToldStep(dataclasses.replace(traced(GOOD), raised="TypeError: of the trace"))
    moments = [KeptMoment(0, "first", None, None)]
    with pytest.raises(TraceError, match="of the trace"):
        trace_moments(capture(failing, [record()], moments), silent)


def test_the_error_of_a_step_that_cannot_be_traced_is_the_answer() -> None:
    class Untraceable(ToldStep):
        def trace(self, state: Any, batch: Any) -> Trace:
            raise TraceError("no graph", "advice")

    moments = [KeptMoment(0, "symptom", None, None)]
    error = TrainingError("Training raised ValueError: shapes differ", "advice")
    captured = capture(Untraceable(), [RAISED], moments)
    with pytest.raises(TrainingError, match="shapes differ"):
        trace_moments(dataclasses.replace(captured, error=error), silent)
    with pytest.raises(TraceError, match="no graph"):
        trace_moments(captured, silent)


def test_progress_is_told_from_nothing_to_all() -> None:
    told: list[tuple[str, int, int | None]] = []
    moments = [KeptMoment(0, "first", None, None)] * 2
    trace_moments(capture(ToldStep(traced()), [record()], moments), lambda *said: told.append(said))
    assert told == [("tracing steps", done, 2) for done in (0, 1, 2)]


def test_nothing_kept_nothing_traced() -> None:
    assert trace_moments(capture(ToldStep()), silent) == ()
