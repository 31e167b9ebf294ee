"""A trial that cannot even begin is a run with an error, and the others go on."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from floatline.backends.interface import Outcome, State
from floatline.capture.capture import KeptMoment, Trainee
from floatline.errors import StorageError
from floatline.precision.plan import Plan
from floatline.trials.bench import Bench
from tests.tracing.fakes import ToldStep, capture


class Full(ToldStep):
    """A step whose state finds no room on the disk any more."""

    def snapshot(self) -> State:
        raise StorageError("Nothing can be written.", "Make room.")


def test_a_disk_that_has_filled_costs_a_trial_and_not_the_diagnosis() -> None:
    step: Any = Full()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    watched = capture(step, moments=[KeptMoment(0, "first", None, None)])
    run = Bench(watched, Trainee(model, lambda: step)).train(Plan.of("mixed_float16"), 3, 1.0)
    assert (run.steps, run.error) == ((), "StorageError: Nothing can be written.")
    assert model.layers[0].compute_dtype == "float32"


class Moving(ToldStep):
    """A step that adds to one weight, or does nothing."""

    def __init__(self, weight: Any, change: float) -> None:
        super().__init__()
        self._weight, self._change = weight, change

    def prepare(self, batch: Any) -> None: ...

    def snapshot(self) -> State:
        return None

    def restore(self, state: Any) -> None: ...

    def run(self, batch: Any) -> tuple[Any, Outcome]:
        self._weight.assign(self._weight + self._change)
        return None, Outcome(loss=1.0)


@pytest.mark.parametrize(("change", "still"), [(0.0, True), (1e-6, False)])
def test_weights_that_never_move_are_seen(change: float, still: bool) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    step: Any = Moving(model.trainable_variables[1], change)
    watched = capture(step, moments=[KeptMoment(0, "first", None, None)], batches=[None])
    run = Bench(watched, Trainee(model, lambda: step)).train(Plan.of("mixed_float16"), 3, 9.0)
    assert (run.error, len(run.steps), run.still) == (None, 3, still)
