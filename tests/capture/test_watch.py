"""The light watch, on steps whose outcomes are told beforehand."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from floatline.backends.interface import Outcome
from floatline.capture.capture import ENOUGH_UPDATES, Budget
from floatline.capture.watch import (
    CONFIRMING_BAD_LOSSES,
    CONFIRMING_BAD_STEPS,
    LEAST_SCALE,
    BudgetSpent,
    Watch,
)
from floatline.errors import TraceError
from tests.capture.fakes import GOOD, LOST, SKIPPED, SPOILT, FakeStep


def watch(outcomes: Iterable[Outcome], budget: Budget | None = None) -> Watch:
    """Watches as many steps as there are outcomes, or until enough was seen."""
    outcomes = list(outcomes)
    watching = Watch(FakeStep(outcomes), budget or Budget(steps=1000, seconds=1e9))
    try:
        for index in range(len(outcomes)):
            watching.advance(f"batch {index}")
    except BudgetSpent:
        pass
    return watching


def labels(watching: Watch) -> list[tuple[int, str]]:
    return [(moment.step, moment.moment) for moment in watching.result()[1]]


def test_the_end_of_the_users_handlers_is_not_the_end_of_the_budget() -> None:
    assert not issubclass(BudgetSpent, Exception)


def test_a_step_that_raises_is_kept_with_its_state_and_its_batch() -> None:
    watching = Watch(FakeStep([GOOD, ValueError("found nan")]), Budget())
    watching.advance("batch 0")
    with pytest.raises(ValueError, match="found nan"):
        watching.advance("batch 1")
    history, moments, batches = watching.result()
    assert watching.raised
    assert history.stopped == "error"
    assert str(history.steps[1].raised).startswith("ValueError: found nan (at ")
    assert np.isnan(history.steps[1].loss or 0)
    assert [(m.step, m.moment, m.state, m.batch) for m in moments][1:] == [
        (1, "symptom", 1, "batch 1")
    ]
    assert batches == ("batch 0", "batch 1")


def test_a_training_that_goes_on_after_an_error_has_not_ended_with_it() -> None:
    watching = Watch(FakeStep([ValueError("one bad batch"), GOOD]), Budget())
    with pytest.raises(ValueError, match="one bad batch"):
        watching.advance("batch 0")
    watching.advance("batch 1")
    assert not watching.raised
    assert watching.result()[0].stopped == "end of training"


def test_an_error_of_floatlines_own_is_no_step() -> None:
    watching = Watch(FakeStep([TraceError("no", "advice")]), Budget())
    with pytest.raises(TraceError):
        watching.advance("batch")
    assert watching.steps == 0


def test_returns_what_the_step_returned() -> None:
    assert Watch(FakeStep(), Budget()).advance("batch") == {"loss": 1.0}


def test_records_each_step() -> None:
    history = watch([GOOD, SKIPPED]).result()[0]
    assert [record.step for record in history.steps] == [0, 1]
    assert [record.skipped for record in history.steps] == [False, True]
    assert history.steps[1].nonfinite_variables == ("b",)
    assert not history.steps[1].finite_gradients
    assert history.steps[1].loss_scale == 32768.0
    assert history.stopped == "end of training"


def test_stops_when_the_steps_are_spent() -> None:
    watching = Watch(FakeStep(), Budget(steps=3, seconds=1e9))
    watching.advance("batch")
    watching.advance("batch")
    with pytest.raises(BudgetSpent):
        watching.advance("batch")
    history = watching.result()[0]
    assert len(history.steps) == 3
    assert history.stopped == "budget"


def test_seconds_count_from_the_end_of_the_first_step() -> None:
    times = itertools.chain([0.0, 100.0, 104.0, 105.0])
    watching = Watch(FakeStep(), Budget(steps=99, seconds=5.0), clock=lambda: next(times))
    watching.advance("compiles for 100 s")
    watching.advance("batch")
    with pytest.raises(BudgetSpent):
        watching.advance("batch")
    assert watching.result()[0].seconds == 105.0


def watched_by(seconds_a_step: float, skipped: int = 0) -> int:
    """Steps that are watched of a training whose every step takes as long; some are skipped."""
    times = itertools.count(0.0, seconds_a_step)
    outcomes = [SKIPPED] * skipped + [GOOD] * 99
    watching = Watch(FakeStep(outcomes), Budget(), clock=lambda: next(times))
    with contextlib.suppress(BudgetSpent):
        for _ in outcomes:
            watching.advance("batch")
    return watching.steps


def test_slow_steps_are_given_longer() -> None:
    assert watched_by(0.5) == 1 + 30
    assert watched_by(3.0) == ENOUGH_UPDATES
    assert watched_by(3.0, skipped=5) == 5 + ENOUGH_UPDATES
    assert watched_by(10.0) == 1 + 6
    assert watched_by(3.0, skipped=21) == 1 + 20


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([GOOD], [(0, "first")]),
        ([GOOD, GOOD, GOOD], [(0, "first"), (2, "last")]),
        ([SKIPPED], [(0, "symptom")]),
        ([SKIPPED, SKIPPED], [(0, "symptom"), (1, "last symptom")]),
        ([GOOD, LOST, GOOD], [(0, "first"), (1, "symptom"), (2, "last")]),
        (
            [GOOD, SKIPPED, GOOD, SKIPPED, GOOD],
            [(0, "first"), (1, "symptom"), (3, "last symptom"), (4, "last")],
        ),
        # A lost loss says more than a step skipped in search of the loss scale.
        ([SKIPPED, GOOD, LOST], [(0, "first"), (2, "symptom")]),
        # After an update with non-finite values the state explains nothing any more.
        ([GOOD, LOST, LOST], [(0, "first"), (1, "symptom"), (2, "last")]),
        # The update that spoilt the weights says more than the loss that shows it.
        (
            [SKIPPED, GOOD, SPOILT, LOST, LOST],
            [(0, "first"), (2, "symptom"), (3, "last symptom"), (4, "last")],
        ),
        # A loop may have skipped that update itself; then the loss says more.
        (
            [GOOD, SPOILT, GOOD, LOST, LOST],
            [(0, "first"), (1, "symptom"), (3, "last symptom"), (4, "last")],
        ),
    ],
)
def test_keeps_each_moment_once(outcomes: list[Outcome], expected: list[tuple[int, str]]) -> None:
    assert labels(watch(outcomes)) == expected


def test_moments_hold_the_state_before_the_step_and_its_batch() -> None:
    moments = watch([GOOD, GOOD, SKIPPED, GOOD]).result()[1]
    symptom = next(moment for moment in moments if moment.moment == "symptom")
    assert symptom.state == 2
    assert symptom.batch == "batch 2"


@pytest.mark.parametrize(
    ("handed", "last"),
    [((), 5), ((1, 3), 3), ((0,), 0), ((5,), 5)],
    ids=["never", "every second step", "once", "at the end"],
)
def test_the_last_step_that_is_kept_updates_where_any_does(
    handed: tuple[int, ...], last: int
) -> None:
    accumulates, updates = Outcome(1.0), Outcome(1.0, (True,), ("kernel",))
    watching = watch([updates if step in handed else accumulates for step in range(6)])
    assert watching.result()[1][-1].step == last


def test_stops_when_skipping_does_not_end() -> None:
    watching = watch([GOOD, *[SKIPPED] * 100])
    assert watching.steps == 1 + CONFIRMING_BAD_STEPS
    assert watching.result()[0].stopped == "symptom"


def skipped_at(scale: float, loss: float = 1.0) -> Outcome:
    return replace(SKIPPED, loss=loss, loss_scale=scale)


def halvings(steps: int, loss: float = 1.0) -> list[Outcome]:
    """Skipped steps from Keras' first scale on."""
    return [skipped_at(2.0 ** (15 - step), loss) for step in range(steps)]


@pytest.mark.parametrize("search", [26, 31, 35])
def test_a_search_with_a_finite_loss_may_end_far_below_a_scale_of_1(search: int) -> None:
    watching = watch([*halvings(search), *[GOOD] * 10])
    assert watching.steps == search + 10
    assert watching.result()[0].stopped == "end of training"


def test_a_search_ends_where_no_scale_is_left() -> None:
    watching = watch(halvings(100))
    assert watching.result()[0].steps[-1].loss_scale == LEAST_SCALE
    assert watching.result()[0].stopped == "symptom"


def test_nothing_is_searched_where_the_loss_is_lost() -> None:
    assert watch(halvings(100, math.nan)).steps == CONFIRMING_BAD_STEPS


def test_goes_on_when_the_loss_scale_finds_its_place() -> None:
    watching = watch([*[SKIPPED] * (CONFIRMING_BAD_STEPS - 1), GOOD] * 3)
    assert watching.steps == 3 * CONFIRMING_BAD_STEPS
    assert watching.result()[0].stopped == "end of training"


def test_stops_when_the_loss_is_lost_and_nothing_skipped() -> None:
    watching = watch([GOOD, *[LOST] * 100])
    assert watching.steps == 1 + CONFIRMING_BAD_LOSSES
    assert watching.result()[0].stopped == "symptom"


def test_a_step_without_a_loss_is_judged_by_its_gradients() -> None:
    nothing = Outcome(loss=None)
    bad = Outcome(loss=None, finite=(False,), variables=("a",))
    assert labels(watch([nothing, bad])) == [(0, "first"), (1, "symptom")]


def test_an_interrupt_is_noted_and_passed_on() -> None:
    watching = Watch(FakeStep([GOOD, KeyboardInterrupt()]), Budget())
    watching.advance("batch")
    with pytest.raises(KeyboardInterrupt):
        watching.advance("batch")
    history = watching.result()[0]
    assert history.stopped == "interrupted"
    assert len(history.steps) == 1


def test_keeps_the_first_batches_without_a_gap() -> None:
    small, large = np.zeros(10, "float32"), np.zeros(1000, "float32")
    watching = Watch(FakeStep(), Budget(), batch_bytes=100)
    for batch in (small, small, large, small):
        watching.advance(batch)
    assert len(watching.result()[2]) == 2


def test_a_batch_that_is_refilled_in_place_is_kept_as_it_was() -> None:
    buffer = np.zeros(3)
    watching = Watch(FakeStep(), Budget())
    watching.advance((buffer, 1))
    buffer[:] = 7
    np.testing.assert_array_equal(watching.result()[2][0][0], np.zeros(3))


def test_says_how_far_it_is() -> None:
    said: list[tuple[int, int | None]] = []
    watching = Watch(
        FakeStep(),
        Budget(steps=9),
        progress=lambda stage, done=0, total=None: said.append((done, total)),
    )
    watching.advance("batch")
    watching.advance("batch")
    assert said == [(1, 9), (2, 9)]
