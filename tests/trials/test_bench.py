"""A trial that cannot even begin is a run with an error, and the others go on."""

from __future__ import annotations

from typing import Any

import keras

from floatline.backends.interface import State
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
