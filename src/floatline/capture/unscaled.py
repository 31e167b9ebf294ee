"""A training whose loss is shown without the scale that its own code puts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from floatline.backends.interface import Batch, Outcome, Replay, State, Step
from floatline.backends.shelf import Shelf
from floatline.capture.capture import Capture, Trainee
from floatline.records import Trace


def unscaled(capture: Capture, scale: float) -> Capture:
    """The same capture, with every loss divided by a scale, those to come as well.

    Args:
        capture: What was captured.
        scale: The number that the code multiplies its loss by.
    """
    note = f"The code multiplies its loss by {scale:g}; it is shown without that factor."
    records = capture.history.steps
    steps = tuple(replace(record, loss=_divided(record.loss, scale)) for record in records)
    trainee = capture.trainee

    def make_step() -> Step:
        assert trainee is not None
        return _Unscaled(trainee.make_step(), scale)

    return replace(
        capture,
        step=_Unscaled(capture.step, scale),
        history=replace(capture.history, steps=steps),
        notes=(*capture.notes, note),
        trainee=None if trainee is None else Trainee(trainee.model, make_step),
    )


def _divided(loss: float | None, scale: float) -> float | None:
    return None if loss is None else loss / scale


def _shown(outcome: Outcome, scale: float) -> Outcome:
    return replace(outcome, loss=_divided(outcome.loss, scale))


@dataclass(frozen=True, slots=True)
class _UnscaledReplay:
    """A training in float32 with the loss that people look at."""

    replay: Replay
    scale: float

    def advance(self, batch: Batch) -> Outcome:
        """Runs the next step in float32."""
        return _shown(self.replay.advance(batch), self.scale)


@dataclass(frozen=True, slots=True)
class _Unscaled:
    """A step with the loss that people look at; all else is the step's own."""

    step: Step
    scale: float

    def prepare(self, batch: Batch) -> None:
        """Builds the step."""
        self.step.prepare(batch)

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        """Runs the step; its outcome has the loss before the scale."""
        returned, outcome = self.step.run(batch)
        return returned, _shown(outcome, self.scale)

    def remembered(self, batch: Batch) -> Batch:
        """The batch for a float32 training."""
        return self.step.remembered(batch)

    def keep_states_on(self, shelf: Shelf) -> None:
        """Snapshots keep their large values there from now on."""
        self.step.keep_states_on(shelf)

    def state_bytes(self) -> int:
        """Bytes that the values of a snapshot take."""
        return self.step.state_bytes()

    def snapshot(self) -> State:
        """Copies the values of every variable."""
        return self.step.snapshot()

    def restore(self, state: State) -> None:
        """Puts a snapshot back."""
        self.step.restore(state)

    def trace(self, state: State, batch: Batch) -> Trace:
        """Runs the step with a float32 shadow."""
        return self.step.trace(state, batch)

    def rows(self, batch: Batch) -> int | None:
        """How many rows a batch has."""
        return self.step.rows(batch)

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """The batch with some of its rows."""
        return self.step.picked(batch, rows)

    def seeded(self, seed: float) -> Step:
        """The same step, whose backward passes start at `seed`."""
        return replace(self, step=self.step.seeded(seed))

    def float32(self, state: State, *, rounded: bool = False, rebuilt: bool = False) -> Replay:
        """Starts the same training in float32."""
        replay = self.step.float32(state, rounded=rounded, rebuilt=rebuilt)
        return _UnscaledReplay(replay, self.scale)
