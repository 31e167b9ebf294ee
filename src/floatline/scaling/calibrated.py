"""The loss scale that is computed from the gradients' exponents instead of being searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

from keras import ops

from floatline.scaling import checks
from floatline.scaling.state import Observation, Tensor

LARGEST_EXPONENT = 15
"""Of float16's largest power of two, 2**15."""

SMALLEST_EXPONENT = -14
"""Of float16's smallest normal power of two, 2**-14."""

RESOLUTION_BITS = 10
"""Powers of two below its largest value down to which a gradient should stay normal: as many as
float16 has explicit bits."""

LARGEST_DROP_BITS = 8.0
"""Powers of two that the limit falls after one overflow, at most."""


UNKNOWN = 1e4
"""An exponent that no number has. Not infinity: what searches a program for infinite values, as
`tf.debugging.enable_check_numerics` does, would find it."""


class CalibratedState(NamedTuple):
    """The state of a calibrated scale, as scalars on the device; a pytree.

    Attributes:
        scale: float32; what the loss is multiplied by; always a power of two.
        good_steps: Integer; finite steps since the limit last changed.
        peak: float32; binary exponent of the largest gradient in memory; `-UNKNOWN` before any.
        trough: float32; binary exponent of the gradient with the smallest maximum; `UNKNOWN` before
            any.
        limit: float32; binary exponent that the scale must not exceed.
    """

    scale: Tensor
    good_steps: Tensor
    peak: Tensor
    trough: Tensor
    limit: Tensor


@final
@dataclass(frozen=True, slots=True)
class CalibratedScale:
    """Chooses the loss scale from the magnitudes of the gradients, anew in every step.

    Gradients are linear in the loss scale S. With `G` the largest unscaled gradient and `g` the
    smallest among the gradients' own largest values, overflow is avoided for S up to
    `2**15 / G`, and the smallest gradient keeps its bits for S from `2**-4 / g`. The scale is the
    power of two in the middle of that window, so that whatever the optimizer cannot see (the
    gradients of activations) has as much room above as below. Where the window is empty, staying
    clear of overflow comes first.

    An overflow tells that the unseen gradients are larger than the seen ones: it lowers a limit
    for the scale, half way to the lower end of the window, and the limit rises by a factor of two
    after each `growth_interval` finite steps.

    Args:
        initial: The scale of the first step, of which nothing is known yet; a power of two.
        memory_steps: After as many steps a magnitude that did not return counts for half.
        growth_interval: Finite steps before the limit rises.
        floor: The scale never falls below it; below 1 only when it is asked for here.
        ceiling: The scale never rises above it.

    Raises:
        InputError: A setting is out of range, or a bound is no power of two.

    Example:

    >>> scale = CalibratedScale()
    >>> state = scale.next_state(scale.initial_state(), Observation(True, 2.0, 2.0**-10))
    >>> float(state.scale)
    1024.0
    """

    initial: float = 2.0**10
    memory_steps: int = 100
    growth_interval: int = 500
    floor: float = 1.0
    ceiling: float = 2.0**32

    def __post_init__(self) -> None:
        owner = "CalibratedScale"
        checks.check_bounds(owner, self.initial, self.floor, self.ceiling)
        for name in ("initial", "floor", "ceiling"):
            checks.check_power_of_two(name, getattr(self, name), owner)
        checks.check_count("memory_steps", self.memory_steps, owner)
        checks.check_count("growth_interval", self.growth_interval, owner)

    def initial_state(self) -> CalibratedState:
        """The initial scale; no gradient is in memory."""
        unlimited = math.log2(self.ceiling)
        return CalibratedState(float(self.initial), 0, -UNKNOWN, UNKNOWN, unlimited)

    def next_state(self, state: CalibratedState, seen: Observation) -> CalibratedState:
        """Remembers the step's magnitudes, and puts the scale where they fit best."""
        measured = ops.logical_and(seen.finite, ops.greater(seen.largest, 0.0))
        peak, trough = self._remembered(state, seen, measured)
        limit, good_steps = self._limited(state, seen, trough)
        exponent = ops.where(measured, _exponent(peak, trough), _scale_exponent(state))
        lowest, highest = math.log2(self.floor), math.log2(self.ceiling)
        exponent = ops.clip(ops.minimum(exponent, limit), lowest, highest)
        return CalibratedState(2.0**exponent, good_steps, peak, trough, limit)

    def _remembered(
        self, state: CalibratedState, seen: Observation, measured: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Extremes fade towards the present by one bit per `memory_steps`."""
        fading = 1.0 / self.memory_steps
        peak = ops.maximum(state.peak - fading, _log2(ops.where(measured, seen.largest, 1.0)))
        trough = ops.minimum(state.trough + fading, _log2(ops.where(measured, seen.smallest, 1.0)))
        return (
            ops.where(measured, peak, state.peak),
            ops.where(measured, trough, state.trough),
        )

    def _limited(
        self, state: CalibratedState, seen: Observation, trough: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The limit and the finite steps since it last changed."""
        exponent = _scale_exponent(state)
        room = exponent - _lower_end(trough)
        drop = ops.clip(ops.floor(room / 2), 1.0, LARGEST_DROP_BITS)
        good_steps = ops.where(seen.finite, state.good_steps + 1, 0)
        rises = ops.greater_equal(good_steps, self.growth_interval)
        risen = ops.minimum(state.limit + 1.0, math.log2(self.ceiling))
        limit = ops.where(seen.finite, ops.where(rises, risen, state.limit), exponent - drop)
        return limit, ops.where(rises, 0, good_steps)


def window(state: CalibratedState) -> tuple[Tensor, Tensor]:
    """The smallest and largest loss scale that suit the gradients in memory.

    The first exceeds the second when no loss scale suits them all.
    """
    return 2.0 ** _lower_end(state.trough), 2.0 ** _upper_end(state.peak)


def _exponent(peak: Tensor, trough: Tensor) -> Tensor:
    upper = _upper_end(peak)
    middle = ops.floor((upper + _lower_end(trough)) / 2)
    return ops.minimum(middle, ops.floor(upper) - 1.0)


def _upper_end(peak: Tensor) -> Tensor:
    return LARGEST_EXPONENT - peak


def _lower_end(trough: Tensor) -> Tensor:
    return SMALLEST_EXPONENT + RESOLUTION_BITS - trough


def _scale_exponent(state: CalibratedState) -> Tensor:
    return ops.round(_log2(state.scale))  # log2 of a power of two is not exact everywhere.


def _log2(value: Tensor) -> Tensor:
    return ops.log2(ops.cast(value, "float32"))
