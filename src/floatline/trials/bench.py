"""Runs one trial on the user's own model: applies a plan, trains, and takes everything back."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from floatline.backends.interface import Batch, Replay, Step
from floatline.capture.capture import Capture, Trainee
from floatline.errors import FloatlineError
from floatline.headlines import headline
from floatline.precision.application import apply
from floatline.precision.optimizers import set_learning_rate
from floatline.precision.plan import Plan
from floatline.records import StepRecord
from floatline.tracing.reference import record


@dataclass(frozen=True, slots=True)
class Run:
    """What one training did, for how long it ran, and whether all weights are what they were."""

    steps: tuple[StepRecord, ...]
    seconds: float
    error: str | None = None
    still: bool = False


class Bench:
    """Trains the captured model again and again from the same state on the same batches.

    Args:
        capture: The watched training.
        trainee: Its Keras model.
        clock: Seconds that only grow.
    """

    def __init__(
        self, capture: Capture, trainee: Trainee, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capture = capture
        self._trainee = trainee
        self._clock = clock
        self._first = capture.moments[0].state

    def train(self, plan: Plan, steps: int, seconds: float) -> Run:
        """Trains under a plan for so many steps, or until the time is up.

        A training that raises is no reason to stop: its error is part of the run.
        """
        begun = self._clock()
        try:
            kept = self._capture.step.snapshot()
        except FloatlineError as full:  # A disk may have filled since; nothing has changed yet.
            return Run((), self._clock() - begun, _words(full))
        done: list[StepRecord] = []
        error, still = None, False
        try:
            with apply(plan, self._trainee.model, strict=False, lasting=False):
                step = self._step()
                set_learning_rate(self._trainee.model, plan.optimizer)
                weights = _weights(self._trainee.model)
                for index, batch in enumerate(self._batches(steps)):
                    _, outcome = step.run(batch)
                    done.append(record(index, outcome))
                    if self._clock() - begun > seconds:
                        break
                still = bool(done) and weights == _weights(self._trainee.model) != []
        except Exception as raised:  # noqa: BLE001 (a trial may fail in any way, and the others go on)
            if self._capture.error is None:
                error = _words(raised)
            else:  # As the training does without a plan: no accident of the trial's.
                done.append(StepRecord(len(done), math.nan, raised=headline(raised)))
        finally:
            self._capture.step.restore(kept)
        return Run(tuple(done), self._clock() - begun, error, still)

    def train_in_float32(self, steps: int, seconds: float) -> Run:
        """The same training in float32, beside the user's variables."""
        begun = self._clock()
        done: list[StepRecord] = []
        error = None
        try:
            replay: Replay = self._capture.step.float32(self._first)
            for index, batch in enumerate(self._batches(steps)):
                done.append(record(index, replay.advance(batch)))
                if self._clock() - begun > seconds:
                    break
        except Exception as raised:  # noqa: BLE001 (it may run out of memory beside the user's)
            error = _words(raised)
        return Run(tuple(done), self._clock() - begun, error)

    def _step(self) -> Step:
        step = self._trainee.make_step()
        step.prepare(self._capture.batches[0])
        step.restore(self._first)
        return step

    def _batches(self, steps: int) -> Iterator[Batch]:
        return itertools.islice(itertools.cycle(self._capture.batches), steps)


def _weights(model: Any) -> list[str]:
    """A digest of each variable that is trained: two copies of a large model need not fit."""
    arrays = (keras.ops.convert_to_numpy(v.value) for v in model.trainable_variables)
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
