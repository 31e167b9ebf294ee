"""What capture hands on: the step, what was seen of the training, and the moments kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from floatline.backends.interface import Batch, State, Step
from floatline.errors import TrainingError
from floatline.records import Configuration, History, Moment


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the user's training runs under watch: whichever limit comes first."""

    steps: int = 1000
    seconds: float = 15.0


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
