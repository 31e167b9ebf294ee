"""Loss scales that know only whether a step was finite: none, fixed, dynamic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from keras import ops

from floatline.scaling import checks
from floatline.scaling.state import Observation, ScaleState


@final
@dataclass(frozen=True, slots=True)
class NoScale:
    """Leaves the loss as it is; non-finite steps are still skipped and counted."""

    def initial_state(self) -> ScaleState:
        """A scale of 1."""
        return ScaleState(1.0, 0, 0)

    def next_state(self, state: ScaleState, seen: Observation) -> ScaleState:
        """The same scale; the steps are counted."""
        return _counted(state, seen)


@final
@dataclass(frozen=True, slots=True)
class FixedScale:
    """Multiplies the loss by the same number in every step.

    Args:
        value: The loss scale; greater than 0 and finite.

    Raises:
        InputError: `value` is no such number.
    """

    value: float

    def __post_init__(self) -> None:
        checks.check_positive("FixedScale", "value", self.value)

    def initial_state(self) -> ScaleState:
        """The scale that was given."""
        return ScaleState(float(self.value), 0, 0)

    def next_state(self, state: ScaleState, seen: Observation) -> ScaleState:
        """The same scale; the steps are counted."""
        return _counted(state, seen)


@final
@dataclass(frozen=True, slots=True)
class DynamicScale:
    """Lowers the loss scale when a gradient overflows and raises it after a run of finite steps.

    The law is that of Micikevicius et al., section 3.2 (https://arxiv.org/abs/1710.03740), between
    a floor and a ceiling. Without a ceiling a scale can grow to infinity, and without a floor it
    can shrink to 0; it returns from neither.

    Args:
        initial: The scale of the first step.
        growth_factor: What the scale is multiplied by after `growth_interval` finite steps.
        backoff_factor: What the scale is multiplied by after an overflow.
        growth_interval: Finite steps since the last change before the scale grows. Lowering it
            during training takes effect at once.
        hysteresis: Overflows since the last change before the scale shrinks; 1 shrinks it at once.
        floor: The scale never shrinks below it. A scale below 1 loses gradients that would be
            represented without scaling, so it is only reached when `floor` is set below 1.
        ceiling: The scale never grows above it.

    Raises:
        InputError: A setting is out of range, or `initial` outside of floor and ceiling.

    Example:

    >>> scale = DynamicScale(initial=1024.0, growth_interval=2)
    >>> state = scale.initial_state()
    >>> for finite in (False, True, True):
    ...     state = scale.next_state(state, Observation(finite, 1.0, 1.0))
    ...     print(float(state.scale))
    512.0
    512.0
    1024.0
    """

    initial: float = 2.0**15
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000
    hysteresis: int = 1
    floor: float = 1.0
    ceiling: float = 2.0**32

    def __post_init__(self) -> None:
        owner = "DynamicScale"
        checks.check_bounds(owner, self.initial, self.floor, self.ceiling)
        checks.check_above("growth_factor", self.growth_factor, 1.0, owner)
        checks.check_share("backoff_factor", self.backoff_factor, owner)
        checks.check_count("growth_interval", self.growth_interval, owner)
        checks.check_count("hysteresis", self.hysteresis, owner)

    def initial_state(self) -> ScaleState:
        """The initial scale, nothing counted yet."""
        return ScaleState(float(self.initial), 0, 0)

    def next_state(self, state: ScaleState, seen: Observation) -> ScaleState:
        """Grows after enough finite steps, shrinks after enough overflows, else only counts."""
        counted = _counted(state, seen)
        grows = ops.greater_equal(counted.good_steps, self.growth_interval)
        shrinks = ops.greater_equal(counted.bad_steps, self.hysteresis)
        grown = ops.minimum(state.scale * self.growth_factor, self.ceiling)
        shrunk = ops.maximum(state.scale * self.backoff_factor, self.floor)
        changes = ops.logical_or(grows, shrinks)
        return ScaleState(
            ops.where(grows, grown, ops.where(shrinks, shrunk, state.scale)),
            ops.where(changes, 0, counted.good_steps),
            ops.where(changes, 0, counted.bad_steps),
        )


def _counted(state: ScaleState, seen: Observation) -> ScaleState:
    """One more step: an overflow ends a run of finite steps, but not the other way round."""
    return ScaleState(
        state.scale,
        ops.where(seen.finite, state.good_steps + 1, 0),
        ops.where(seen.finite, state.bad_steps, state.bad_steps + 1),
    )
