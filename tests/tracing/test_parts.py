"""How a batch is cut whose trace does not fit, which part is taken, and what is said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from floatline.backends.interface import Batch, Outcome, State
from floatline.capture.capture import KeptMoment
from floatline.errors import OutOfMemoryError, TraceError
from floatline.progress import silent
from floatline.records import GradientSite, Place, Site, Statistics, StepRecord, Trace
from floatline.tracing.moments import trace_moments
from floatline.tracing.parts import shares_of_rows
from tests.tracing.fakes import ToldStep, capture


class RowStep(ToldStep):
    """A step whose batch is a list of numbers: each row has the gradient `share`, or its mean's.

    Args:
        fits: Rows whose trace fits.
        mean: Whether the loss is a mean over the rows.
        seed: What the backward pass starts at.
    """

    def __init__(self, fits: int, *, mean: bool = True, seed: float = 1.0) -> None:
        super().__init__()
        self.fits, self.mean, self.seed = fits, mean, seed
        self.tried: list[int] = []
        self.state = 0

    def rows(self, batch: Batch) -> int | None:
        return len(batch) if isinstance(batch, list) else None

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        return [batch[row] for row in rows]

    def seeded(self, seed: float) -> RowStep:
        step = RowStep(self.fits, mean=self.mean, seed=seed)
        step.tried = self.tried
        return step

    def snapshot(self) -> State:
        return self.state

    def restore(self, state: State) -> None:
        self.state = state

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        self.state += 1
        finite = all(abs(row) * self._weight(batch) < 65504 for row in batch)
        return None, Outcome(loss=1.0, finite=(finite,), variables=("kernel",))

    def trace(self, state: State, batch: Batch) -> Trace:
        assert state == 7
        self.tried.append(len(batch))
        if len(batch) > self.fits:
            raise OutOfMemoryError("no room", "Buy some.")
        each = [abs(row) * self._weight(batch) for row in batch]
        lost = sum(value >= 65504 for value in each)
        rows = _site(0, Statistics(len(batch), max_abs=max(each), inf=lost))
        total = _site(1, Statistics(1, max_abs=sum(each), inf=min(lost, 1)), (0,))
        return Trace(0, "first", (rows, total), gradients=(GradientSite("kernel", None, 1),))

    def _weight(self, batch: Batch) -> float:
        return self.seed / len(batch) if self.mean else self.seed


def _site(index: int, statistics: Statistics, inputs: tuple[int, ...] = ()) -> Site:
    place = Place(None, "MatMul", f"m{index}", "backward", layer_class=None)
    return Site(index, place, "value", "float16", (), inputs, statistics)


def traces(step: RowStep, *batches: Any, finite: bool = True) -> tuple[Trace, ...]:
    moments = [KeptMoment(n, "first", 7, batch) for n, batch in enumerate(batches)]
    records = [StepRecord(n, 1.0, finite_gradients=finite) for n, _ in enumerate(batches)]
    return trace_moments(capture(step, records, moments), silent)


@pytest.mark.parametrize("mean", [True, False])
def test_gradients_of_rows_are_those_of_the_whole(mean: bool) -> None:
    batch = [3.0] * 16
    (whole,) = traces(RowStep(16, mean=mean), batch)
    (part,) = traces(RowStep(5, mean=mean), batch)
    assert (whole.rows, part.rows) == (None, "rows 0 to 3 of 16")
    assert part.sites[0].statistics.max_abs == whole.sites[0].statistics.max_abs
    (note,) = part.notes
    assert note == (
        "The traced step did not fit into memory: rows 0 to 3 of 16 were traced, with the gradient "
        "scale of the whole batch."
    )


def test_a_wrong_seed_is_seen() -> None:
    (whole,) = traces(RowStep(16), [3.0] * 16)
    own = RowStep(16).trace(7, [3.0] * 4)
    assert own.sites[0].statistics.max_abs == 4 * whole.sites[0].statistics.max_abs


def test_the_part_is_taken_that_shows_it() -> None:
    step = RowStep(4)
    (found,) = traces(step, [1.0] * 9 + [1e7] + [1.0] * 6, finite=False)
    assert found.rows == "rows 8 to 11 of 16"
    assert found.agrees
    assert step.state == 0


def test_that_no_part_shows_it_is_told() -> None:
    (found,) = traces(RowStep(4), [1.0] * 16, finite=False)
    assert found.rows == "rows 0 to 3 of 16"
    assert found.agrees is False
    assert "No part of the batch shows by itself what the whole batch shows." in found.notes


def test_what_is_known_of_one_moment_serves_the_next() -> None:
    step = RowStep(4)
    traces(step, [1.0] * 16, [1.0] * 16)
    # Fitting, how gradients go with rows, the part itself; then only the part.
    assert step.tried == [16, 8, 4, 2, 4, 4, 4]


def test_one_row_is_the_least() -> None:
    (found,) = traces(RowStep(1), [2.0, 1.0])
    assert found.rows == "row 0 of 2"
    with pytest.raises(OutOfMemoryError, match="neither does that of a single row") as error:
        traces(RowStep(0), [1.0] * 4)
    assert error.value.advice == "Buy some."


def test_a_batch_without_rows_is_not_cut() -> None:
    with pytest.raises(OutOfMemoryError, match=r"its arrays have no rows in common.*no room"):
        traces(RowStep(0), ({"x": 1},))


def test_a_step_that_insists_on_its_rows_is_not_cut() -> None:
    class Insisting(RowStep):
        def seeded(self, seed: float) -> RowStep:
            return self

        def trace(self, state: State, batch: Batch) -> Trace:
            if len(batch) < 16:
                raise TraceError("16 rows are wanted")
            raise OutOfMemoryError("no room")

    with pytest.raises(OutOfMemoryError, match=r"cannot be cut to 8 rows.*16 rows are wanted"):
        traces(Insisting(0), [1.0] * 16)


def test_an_error_in_a_part_alone_is_no_trace() -> None:
    class Raising(RowStep):
        def seeded(self, seed: float) -> RowStep:
            return self

        def trace(self, state: State, batch: Batch) -> Trace:
            trace = super().trace(state, batch)
            return dataclasses.replace(trace, raised="ValueError: 16 rows are wanted")

    with pytest.raises(OutOfMemoryError, match="16 rows are wanted"):
        traces(Raising(8), [1.0] * 16)


def test_statistics_of_a_batch_are_told_to_be_of_its_part() -> None:
    class Normalized(RowStep):
        def seeded(self, seed: float) -> RowStep:
            return self

        def trace(self, state: State, batch: Batch) -> Trace:
            trace = super().trace(state, batch)
            place = dataclasses.replace(trace.sites[0].place, layer_class="BatchNormalization")
            first = dataclasses.replace(trace.sites[0], place=place)
            return dataclasses.replace(trace, sites=(first, *trace.sites[1:]))

    (found,) = traces(Normalized(8), [1.0] * 16)
    assert found.notes[-1].startswith("The traced statistics of a batch")


def test_only_what_gradients_are_made_of_tells_a_mean_from_a_sum() -> None:
    """The slope of an activation belongs to rows, too, but no backward pass has reached it."""

    def trace(rows: int, gradient: float) -> Trace:
        slope = _site(0, Statistics(rows, max_abs=1.0))
        each = _site(1, Statistics(rows, max_abs=gradient), (0,))
        total = _site(2, Statistics(3, max_abs=1.0), (1,))
        return Trace(0, "first", (slope, each, total), gradients=(GradientSite("w", None, 2),))

    assert shares_of_rows(trace(4, 0.5), trace(8, 0.25)) == [0.5]
    assert shares_of_rows(trace(4, 0.5), trace(8, 0.5)) == [1.0]
    assert shares_of_rows(trace(4, 0.0), trace(8, 0.0)) == []


def test_pieces_of_one_size_are_told_by_what_they_come_to() -> None:
    def trace(total: float) -> Trace:
        each = _site(0, Statistics(6, max_abs=0.5))
        return Trace(
            0,
            "first",
            (each, _site(1, Statistics(3, max_abs=total), (0,))),
            gradients=(GradientSite("w", None, 1),),
        )

    assert shares_of_rows(trace(1.0), trace(2.0)) == [1.0]
    assert shares_of_rows(trace(1.0), trace(1.0)) == [0.5]
