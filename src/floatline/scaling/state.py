"""What travels through a loss scale: its state, and what one step showed of the gradients."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

Tensor = Any
"""A scalar of whatever framework Keras runs on, or a Python number."""


class Observation(NamedTuple):
    """What the gradients of one step showed, as scalars on the device.

    Attributes:
        finite: Boolean; whether every value of every gradient is finite.
        largest: float32; the largest magnitude among all unscaled gradients.
        smallest: float32; of each gradient's own largest magnitude, the smallest that is not 0.
            0 when every gradient is 0.
    """

    finite: Tensor
    largest: Tensor
    smallest: Tensor


class ScaleState(NamedTuple):
    """The state of a loss scale, as scalars on the device; a pytree.

    Attributes:
        scale: float32; what the loss is multiplied by.
        good_steps: Integer; finite steps since the scale last changed.
        bad_steps: Integer; non-finite steps since the scale last changed.
    """

    scale: Tensor
    good_steps: Tensor
    bad_steps: Tensor


class AnyState(Protocol):
    """What the state of every scale has."""

    @property
    def scale(self) -> Tensor:
        """float32; what the loss is multiplied by."""
        ...

    @property
    def good_steps(self) -> Tensor:
        """Integer; finite steps since the scale last changed."""
        ...


State = TypeVar("State", bound=AnyState)


class Scale(Protocol[State]):
    """The law of a loss scale: settings that never change, and a function from state to state."""

    def initial_state(self) -> State:
        """The state before the first step, as Python numbers."""
        ...

    def next_state(self, state: State, seen: Observation) -> State:
        """The state for the next step."""
        ...
