"""A step whose traces and trainings are told beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from floatline.backends.interface import Batch, Outcome, State, Step
from floatline.backends.shelf import Shelf
from floatline.capture.capture import Capture, KeptMoment
from floatline.records import (
    Configuration,
    GradientSite,
    History,
    Place,
    Site,
    Statistics,
    StepRecord,
    Trace,
)


class ToldReplay:
    """A training that gives one outcome after the other."""

    def __init__(self, outcomes: Sequence[Outcome | BaseException]) -> None:
        self._outcomes = iter(outcomes)
        self.batches: list[Batch] = []

    def advance(self, batch: Batch) -> Outcome:
        self.batches.append(batch)
        outcome = next(self._outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class ToldStep:
    """A step that remembers what it was asked."""

    def __init__(
        self,
        traced: Trace | None = None,
        start: Callable[[dict[str, bool]], ToldReplay] | None = None,
    ) -> None:
        self._traced, self._start = traced, start
        self.asked: list[Any] = []

    def prepare(self, batch: Batch) -> None:
        raise NotImplementedError

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        raise NotImplementedError

    def remembered(self, batch: Batch) -> Batch:
        return batch

    def keep_states_on(self, shelf: Shelf) -> None:
        raise NotImplementedError

    def state_bytes(self) -> int:
        return 0

    def snapshot(self) -> State:
        raise NotImplementedError

    def restore(self, state: State) -> None:
        raise NotImplementedError

    def trace(self, state: State, batch: Batch) -> Trace:
        self.asked.append((state, batch))
        assert self._traced is not None
        return self._traced

    def rows(self, batch: Batch) -> int | None:
        raise NotImplementedError

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        raise NotImplementedError

    def seeded(self, seed: float) -> Step:
        raise NotImplementedError

    def float32(self, state: State, *, rounded: bool = False, rebuilt: bool = False) -> ToldReplay:
        assert self._start is not None
        how = {"rounded": rounded, "rebuilt": rebuilt}
        self.asked.append((state, how))
        return self._start(how)


def traced(loss: Statistics | None = None, *gradients: Statistics) -> Trace:
    """A trace of nothing but a loss and gradients."""
    measured = ([loss] if loss is not None else []) + list(gradients)
    sites = tuple(site(index, statistics) for index, statistics in enumerate(measured))
    first = 0 if loss is None else 1
    return Trace(
        0,
        "first",
        sites,
        gradients=tuple(
            GradientSite(f"v{index}", None, first + index) for index in range(len(gradients))
        ),
        losses=(0,) if loss is not None else (),
    )


def site(index: int, statistics: Statistics) -> Site:
    """A site about which nothing is known but its numbers."""
    place = Place(layer=None, operation="Mul", name=f"mul_{index}", phase="forward")
    return Site(index, place, "value", "float16", (), (), statistics)


def capture(
    step: Step,
    records: Sequence[StepRecord] = (),
    moments: Sequence[KeptMoment] = (),
    batches: Sequence[Batch] = (),
) -> Capture:
    """A watched training."""
    return Capture(
        configuration=Configuration("mixed_float16"),
        step=step,
        history=History(tuple(records)),
        moments=tuple(moments),
        batches=tuple(batches),
    )
