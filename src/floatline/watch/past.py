"""The recent past of a training: its state some steps ago, and every batch since."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from floatline.backends.interface import Batch
from floatline.backends.watch_interface import Tensor, Training, WatchKernels
from floatline.capture.batches import size_in_bytes

MOST_STEPS = 100
"""Steps between two states that are kept; a replay takes at most so many."""

MOST_BATCHES = 25
"""Batches that go with a state whose steps were all skipped: each of them shows the failure."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a failure is seen again: a state, and the batches that lead on from it.

    Attributes:
        step: Steps before this state.
        variables: Keras variables.
        values: Their values.
        batches: The batches of the steps from there on.
        found: Whether the first of these batches is the one that fails, because it was seen to.
        culprit: Path of the first variable that was not finite after it, if any.
        random: The state of generators that no variable holds.
    """

    step: int
    variables: tuple[Any, ...]
    values: tuple[Tensor, ...]
    batches: tuple[Batch, ...]
    found: bool
    culprit: str | None = None
    random: tuple[Tensor, ...] = ()


class Past:
    """Keeps one state of the model and the batches since, within a bound.

    Args:
        model: The model.
        kernels: The framework.
        most_bytes: Bytes of batches to keep; when they are full, the past begins anew. A second
            state that is larger is held for no longer than it takes to judge it.
    """

    def __init__(self, model: Any, kernels: WatchKernels, most_bytes: int) -> None:
        self._model = model
        self._kernels = kernels
        self._most_bytes = most_bytes
        self._bytes = 0
        """Of the batches since the state that was copied last."""
        self._origin: Origin | None = None
        self._marked: tuple[int, Origin] | None = None
        """How many of the batches led to a state that the past may begin with, and this state."""
        self._batches: list[Batch] = []

    @property
    def full(self) -> bool:
        """Whether it should begin anew at the next look."""
        if self._origin is None:
            return True
        return self._bytes >= self._most_bytes or len(self._batches) >= MOST_STEPS

    @property
    def crowded(self) -> bool:
        """Whether it cannot wait for the next look."""
        return self._origin is not None and self._bytes >= self._most_bytes

    @property
    def heavy(self) -> bool:
        """Whether a marked state is too large for a step to be taken beside it and the other one.

        Memory that was enough for the training and one state must stay enough.
        """
        return self._marked is not None and size_in_bytes(self._marked[1].values) > self._most_bytes

    def begin(self, training: Training, step: int) -> None:
        """Begins at the present state, which is known to be good."""
        self.mark(training, step)
        self.confirm()

    def mark(self, training: Training, step: int) -> None:
        """Copies the present state, to begin there as soon as it is known to be good."""
        self._marked = len(self._batches), self._state(training, step, (), found=False)
        self._bytes = 0

    def confirm(self) -> None:
        """Begins at the marked state, if there is one: it was good."""
        if self._marked is not None:
            passed, self._origin = self._marked
            self._batches, self._marked = self._batches[passed:], None

    def forget(self) -> None:
        """Keeps nothing until it begins again."""
        self._origin, self._marked, self._batches, self._bytes = None, None, [], 0

    def add(self, batches: Sequence[Batch]) -> None:
        """Adds what a step took; a step whose batch stays out of sight ends the past."""
        if self._origin is None and self._marked is None:
            return
        if not batches or self._bytes > 2 * self._most_bytes:
            self.forget()
            return
        self._batches += batches
        self._bytes += sum(map(size_in_bytes, batches))

    def origin(self) -> Origin | None:
        """The state that is kept, with all batches since."""
        kept = self._origin
        if kept is None or not self._batches:
            return None
        return replace(kept, batches=tuple(self._batches))

    def present(self, training: Training, step: int) -> Origin | None:
        """The state now, with the latest batches, which did not change it."""
        latest = tuple(self._batches[-MOST_BATCHES:]) or training.taken
        return self._state(training, step, latest, found=True) if latest else None

    def _state(
        self, training: Training, step: int, batches: tuple[Batch, ...], *, found: bool
    ) -> Origin:
        variables = tuple(all_variables(self._model))
        values = tuple(self._kernels.copied(training.values(variables)))
        random = tuple(self._kernels.random_state())
        return Origin(step, variables, values, batches, found, random=random)


def locate(
    origin: Origin, model: Any, training: Training, kernels: WatchKernels, bad: Any, loss: Any
) -> Origin:
    """Goes through the kept batches again, up to the state just before the step that fails.

    The training is afterwards what it was.

    Args:
        origin: Where to begin.
        model: The model.
        training: Its training.
        kernels: The framework.
        bad: Gives the path of the first weight that is not finite, or None.
        loss: Reads the loss from what a train function returned.

    Returns:
        The failing step's origin; `origin` itself when no step fails this time.
    """
    # More than the origin may know: metrics are made by the first step.
    variables = all_variables(model)
    now, random_now = kernels.copied(training.values(variables)), kernels.random_state()
    training.put(origin.variables, origin.values)
    kernels.put_random_state(origin.random)
    try:
        for number, batch in enumerate(origin.batches):
            before = kernels.copied(training.values(origin.variables))
            random = tuple(kernels.random_state())
            found = loss(training.again(batch))
            culprit = bad(training)
            if culprit is not None or (found is not None and not _finite(found)):
                return Origin(
                    origin.step + number,
                    origin.variables,
                    tuple(before),
                    origin.batches[number:][:MOST_BATCHES],
                    True,
                    culprit,
                    random,
                )
    finally:
        training.put(variables, now)
        kernels.put_random_state(random_now)
    return origin


def all_variables(model: Any) -> list[Any]:
    """Every variable that a train step may change, in Keras' order."""
    return [variable for group in groups(model).values() for variable in group]


def groups(model: Any) -> dict[str, list[Any]]:
    """The variables of a model by what they are for."""
    return {
        "trainable": list(model.trainable_variables),
        "non_trainable": list(model.non_trainable_variables),
        "optimizer": list(model.optimizer.variables),
        "metrics": list(model.metrics_variables),
    }


def _finite(number: float) -> bool:
    return math.isfinite(number)
