"""The float32 trainings beside the user's: what they start from, and when they stop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from floatline.backends.interface import Batch, Outcome
from floatline.capture.capture import Capture, KeptMoment, Trainee
from floatline.errors import TraceError, TrainingError
from floatline.headlines import headline
from floatline.progress import silent
from floatline.records import Reference, StepRecord
from floatline.tracing.reference import record, train_on_others, train_reference
from tests.tracing.fakes import ToldReplay, ToldStep, capture

FIRST = (KeptMoment(0, "first", "state", "batch"), KeptMoment(9, "last", "late", "batch"))
BATCHES = ("b0", "b1", "b2")
PLAIN, ROUNDED, REBUILT = (
    {"rounded": rounded, "rebuilt": rebuilt}
    for rounded, rebuilt in ((False, False), (True, False), (False, True))
)


NAN = float("nan")


def losses(*values: float) -> ToldReplay:
    return ToldReplay([Outcome(value) for value in values])


def clock(step: float) -> Iterator[float]:
    seconds = 0.0
    while True:
        yield seconds
        seconds += step


def test_three_trainings_from_the_first_state_on_the_same_batches() -> None:
    started: list[ToldReplay] = []

    def start(how: dict[str, bool]) -> ToldReplay:
        first = {str(PLAIN): 1.0, str(ROUNDED): 2.0, str(REBUILT): 3.0}[str(how)]
        started.append(losses(first, first / 2, first / 4))
        return started[-1]

    step = ToldStep(start=start)
    reference = train_reference(capture(step, moments=FIRST, batches=BATCHES), 10, silent)
    assert step.asked == [("state", PLAIN), ("state", ROUNDED), ("state", REBUILT)]
    assert [replay.batches for replay in started] == [list(BATCHES)] * 3
    assert [step.loss for step in reference.steps] == [1.0, 0.5, 0.25]
    assert [step.step for step in reference.steps] == [0, 1, 2]
    assert [step.loss for step in reference.perturbed] == [2.0, 1.0, 0.5]
    assert [step.loss for step in reference.rebuilt] == [3.0, 1.5, 0.75]


def test_a_training_stops_when_its_time_is_up_but_takes_one_step() -> None:
    told = clock(1.0)
    step = ToldStep(start=lambda how: losses(1.0, 2.0, 3.0))
    moments = capture(step, moments=FIRST, batches=BATCHES)
    assert len(train_reference(moments, 1.5, silent, lambda: next(told)).steps) == 2
    told = clock(100.0)
    assert len(train_reference(moments, 1.5, silent, lambda: next(told)).steps) == 1


def test_a_step_that_cannot_be_rebuilt_leaves_the_other_two() -> None:
    def start(how: dict[str, bool]) -> ToldReplay:
        return ToldReplay([TraceError("no", "do")]) if how["rebuilt"] else losses(1.0, 2.0, 3.0)

    reference = train_reference(
        capture(ToldStep(start=start), moments=FIRST, batches=BATCHES), 10, silent
    )
    assert (len(reference.steps), len(reference.perturbed), reference.rebuilt) == (3, 3, ())


def test_a_step_that_cannot_be_replayed_at_all_is_not_hidden() -> None:
    step = ToldStep(start=lambda how: ToldReplay([TraceError("no", "do")]))
    with pytest.raises(TraceError):
        train_reference(capture(step, moments=FIRST, batches=BATCHES), 10, silent)


def ended_by(kind: type[Exception]) -> Capture:
    """A training whose third step raised, and whose float32 twin raises in the fourth."""
    with pytest.raises(kind) as caught:
        ToldReplay([kind("nan is no share")]).advance("b2")
    step = ToldStep(
        start=lambda how: ToldReplay([Outcome(1.0)] * 3 + [ValueError("0.5 is no share")])
    )
    lost = StepRecord(2, NAN, raised=headline(caught.value))
    failure = TrainingError("Training raised it", "advice")
    seen = [StepRecord(0, 1.0), StepRecord(1, 1.0), lost]
    return dataclasses.replace(capture(step, seen, FIRST, BATCHES), error=failure)


def test_after_an_error_float32_goes_on_with_the_same_batches_until_it_raises_as_well() -> None:
    reference = train_reference(ended_by(ValueError), 10, silent)
    assert [step.raised for step in reference.steps[:3]] == [None] * 3
    assert str(reference.steps[3].raised).startswith("ValueError: 0.5 is no share")
    assert math.isnan(reference.steps[3].loss or 0)
    assert len(reference.steps) == 4
    assert reference.rebuilt == ()


def test_another_error_in_float32_only_ends_it() -> None:
    reference = train_reference(ended_by(RuntimeError), 10, silent)
    assert [step.raised for step in reference.steps] == [None] * 3


def test_without_a_kept_state_there_is_no_reference() -> None:
    assert train_reference(capture(ToldStep(), batches=BATCHES), 10, silent) == Reference(())


def test_progress_is_told_step_by_step() -> None:
    told: list[tuple[str, int, int | None]] = []
    step = ToldStep(start=lambda how: losses(1.0, 2.0, 3.0))
    train_reference(capture(step, moments=FIRST, batches=BATCHES), 10, lambda *a: told.append(a))
    assert told == [("training in float32", done, 3) for done in (1, 2, 3)] * 3


def test_the_record_of_an_outcome() -> None:
    outcome = Outcome(0.5, (True, False, False), ("a", "b", "c"), 8.0, applied=False)
    assert record(4, outcome) == StepRecord(
        step=4,
        loss=0.5,
        finite_gradients=False,
        nonfinite_variables=("b", "c"),
        skipped=True,
        loss_scale=8.0,
    )
    assert record(0, Outcome(None)) == StepRecord(0, None)


def compiled() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


class Whole(ToldStep):
    """A step whose batches are kept as Keras hands them over."""

    def rows(self, batch: Batch) -> int | None:
        del batch
        return None


def test_a_training_on_others_is_one_of_pairs_of_a_keras_model() -> None:
    pairs = tuple(([float(i)], [float(i)]) for i in range(2))
    step = Whole(start=lambda _: losses(1.0, 0.5))
    watched = capture(step, moments=FIRST, batches=pairs)
    assert train_on_others(watched, 10, silent) == ()
    one_model = dataclasses.replace(watched, trainee=Trainee(compiled(), lambda: step))
    assert train_on_others(one_model, 10, silent) == ()  # Lists are no tensors.
    tensors = tuple((np.full((2, 1), i + 0.5, "float32"), np.full(2, i + 0.5)) for i in range(2))
    with_tensors = dataclasses.replace(one_model, batches=tensors)
    assert [s.loss for s in train_on_others(with_tensors, 10, silent)] == [1.0, 0.5]


def test_where_float32_cannot_be_trained_nothing_is_said_of_other_targets() -> None:
    def refuse(how: dict[str, bool]) -> ToldReplay:
        raise TraceError(f"No float32: {how}.", "Nothing helps.")

    step = Whole(start=refuse)
    pairs = tuple((np.full((2, 1), i + 0.5, "float32"), np.full(2, i + 0.5)) for i in range(2))
    watched = capture(step, moments=FIRST, batches=pairs)
    watched = dataclasses.replace(watched, trainee=Trainee(compiled(), lambda: step))
    assert train_on_others(watched, 10, silent) == ()
    with pytest.raises(TraceError):
        train_reference(watched, 10, silent)
