"""What keeping watch on a training asks of a framework; the rest is written with `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from floatline.backends.interface import Batch

Tensor = Any
Logs = Any
"""What a train function returns: in nearly all models a dictionary of scalars."""

Scope = Callable[[], AbstractContextManager[Any]]
"""Enters a `StatelessScope` in which Keras' variables have the values of this moment."""


class Training(Protocol):
    """A training that is about to take a step, or has just taken it."""

    taken: tuple[Batch, ...]
    """The batches of this call of the train function; empty when they stay out of sight."""

    def take(self) -> tuple[Batch, ...]:
        """Takes the batches before the step; without this some frameworks take them within it.

        Raises:
            StopIteration: There are no more.
        """
        ...

    def step(self) -> Logs:
        """Runs the model's own train function once."""
        ...

    def again(self, batch: Batch) -> Logs:
        """Runs the train function on one batch of before, from the values of this moment."""
        ...

    def values(self, variables: Sequence[Any]) -> list[Tensor]:
        """The values of Keras variables at this moment, not copied."""
        ...

    def put(self, variables: Sequence[Any], values: Sequence[Tensor]) -> None:
        """Gives variables values; the given tensors stay as they are."""
        ...


Arrived = Callable[[], list[Any]]
"""Waits for values that are on their way to the host, and gives them as NumPy arrays."""

Advance = Callable[[Training], Logs]
"""Takes the step of a training, with whatever is to be done around it."""

Measure = Callable[[Callable[[], Any], Scope, Batch], Any]
"""Given what runs the train step, the scope of a forward pass, and the batch: a nest of tensors."""


@dataclass(frozen=True, slots=True)
class Company:
    """What trains together with this process and its one device.

    Attributes:
        hindrance: Why no step can be taken a second time, as a clause; None when any can.
        first: Whether this process writes and speaks for all.
        others: Whether other processes wait for this one in every step.
    """

    hindrance: str | None = None
    first: bool = True
    others: bool = False


class WatchKernels(Protocol):
    """The few operations of a watch that a framework has its own way for."""

    def company(self, model: Any) -> Company:
        """Who trains this model together."""
        ...

    def tapped(self, model: Any, function: Any, advance: Advance) -> Any:
        """Stands in for `function`, the train function of `model`: every call goes to `advance`.

        As long as `advance` takes each step once, training computes what it would have computed.
        """
        ...

    def resting(self, model: Any, function: Any) -> Training:
        """The training between two calls of `function`, while the model holds its own values."""
        ...

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of tensors that computes without gradients, compiled where that is usual."""
        ...

    def copied(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The same values in memory that no later step overwrites."""
        ...

    def fetched(self, values: Sequence[Any]) -> Arrived:
        """Begins to bring values of this moment to the host, whatever later steps write.

        The host does not wait, unless Keras makes it wait for every step anyway.
        """
        ...

    def measuring(
        self, model: Any, measure: Measure
    ) -> Callable[[Training, Sequence[Any], Batch], Any]:
        """Runs `measure` on a training without changing anything of it.

        Returns:
            A function of a training, all variables of the model, and one batch.

        Raises:
            FloatlineError: From that function: the step writes where Keras does not look.
        """
        ...

    def random_state(self) -> list[Tensor]:
        """The state of random generators that a step draws from and that no variable holds."""
        ...

    def put_random_state(self, state: Sequence[Tensor]) -> None:
        """Puts such a state back, as far as this machine has the same generators."""
        ...

    def frame(self) -> Any:
        """What is the same at two places of one traced function, and another one in a loop's body.

        A tensor that was made in another frame must not be used in this one.
        """
        ...
