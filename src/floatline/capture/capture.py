"""What capture hands on: the step, what was seen of the training, and the moments kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from floatline.backends.interface import Batch, State, Step
from floatline.errors import TrainingError
from floatline.records import Configuration, History, Moment

SECONDS, PATIENT_SECONDS = 15.0, 60.0

# A handful of steps tells no loss curve from another, and may not end the search for a loss scale.
ENOUGH_UPDATES = 12


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the user's training runs under watch: whichever limit comes first.

    Attributes:
        steps: Training steps.
        seconds: From the end of the first step on. None for 15 seconds, or as many as a dozen
            updates take, but at most 60.
    """

    steps: int = 1000
    seconds: float | None = None

    def seconds_after(self, updates: int) -> float:
        """How long it is watched that has updated its weights so many times.

        Example:

        >>> Budget().seconds_after(5), Budget().seconds_after(50), Budget(9, 2.5).seconds_after(5)
        (60.0, 15.0, 2.5)
        """
        if self.seconds is not None:
            return self.seconds
        return SECONDS if updates >= ENOUGH_UPDATES else PATIENT_SECONDS


@dataclass(frozen=True, slots=True)
class KeptMoment:
    """A step worth tracing: the state just before it and the batch it was given."""

    step: int
    moment: Moment
    state: State
    batch: Batch


@dataclass(frozen=True, slots=True)
class Trainee:
    """A Keras model in training, and how its step is made anew once its layers have changed."""

    model: Any
    make_step: Callable[[], Step]


@dataclass(frozen=True, slots=True)
class Capture:
    """A watched training, with all that is needed to look at it again.

    Attributes:
        configuration: The training as it is set up.
        step: The user's training step.
        history: What the light watch saw.
        moments: Steps to trace, in order of time.
        batches: The batches of the first steps, as many as fitted into memory.
        notes: What a reader must know: callbacks left out, data not replayed.
        trainee: The Keras model that is trained; None for a step function in which no model, or
            more than one, was found.
        error: What ended the training, if a step of it raised: if no number explains it, it is
            the answer.
    """

    configuration: Configuration
    step: Step
    history: History
    moments: tuple[KeptMoment, ...]
    batches: tuple[Batch, ...]
    notes: tuple[str, ...] = ()
    trainee: Trainee | None = None
    error: TrainingError | None = None
