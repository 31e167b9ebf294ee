"""The calibrated scale: the middle of the window, remembered and re-estimated."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floatline.errors import InputError
from floatline.scaling.calibrated import UNKNOWN, CalibratedScale, CalibratedState, window
from floatline.scaling.state import Observation

FLOAT16_LARGEST = 65504.0
FLOAT16_SMALLEST_NORMAL = 2.0**-14


def after(scale: CalibratedScale, steps: Any) -> CalibratedState:
    state = scale.initial_state()
    for step in steps:
        state = scale.next_state(state, Observation(*step))
    return state


def test_one_finite_step_puts_the_scale_into_the_middle_of_the_window() -> None:
    state = after(CalibratedScale(), [(True, 1.0, 2.0**-10)])
    assert [float(end) for end in window(state)] == [2.0**6, 2.0**15]
    assert float(state.scale) == 2.0**10


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-6, 1e4), st.floats(1e-9, 1.0))
def test_what_was_measured_fits_into_float16(largest: float, share: float) -> None:
    smallest = largest * share
    scale = float(after(CalibratedScale(), [(True, largest, smallest)]).scale)
    assert math.frexp(scale)[0] == 0.5
    assert scale == 1.0 or largest * scale <= FLOAT16_LARGEST / 2
    room_below = smallest * scale / FLOAT16_SMALLEST_NORMAL
    room_above = FLOAT16_LARGEST / (largest * scale)
    assert room_below >= 2**10 or room_above < 16 or scale == 2.0**32


def test_an_empty_window_keeps_clear_of_overflow_and_is_told() -> None:
    state = after(CalibratedScale(), [(True, 1.0, 2.0**-30)])
    low, high = (float(end) for end in window(state))
    assert low > high
    assert float(state.scale) == 2.0**14


def test_an_overflow_before_anything_is_known_drops_the_scale_at_once() -> None:
    state = after(CalibratedScale(initial=2.0**15), [(False, 0.0, 0.0)])
    assert float(state.scale) == 2.0**7
    assert float(state.peak) == -UNKNOWN


def test_after_an_overflow_the_scale_does_not_return_before_the_limit_rises() -> None:
    scale = CalibratedScale(growth_interval=3)
    good, bad = (True, 1.0, 2.0**-10), (False, 0.0, 0.0)
    assert float(after(scale, [good, bad]).scale) == 2.0**8
    assert float(after(scale, [good, bad, good, good]).scale) == 2.0**8
    assert float(after(scale, [good, bad, good, good, good]).scale) == 2.0**9


def test_the_scale_follows_gradients_that_shrink_and_obeys_at_once_when_they_grow() -> None:
    scale = CalibratedScale(memory_steps=10)
    shrunk = after(scale, [(True, 1.0, 1.0)] + [(True, 2.0**-6, 2.0**-6)] * 60)
    assert float(shrunk.scale) == float(after(scale, [(True, 2.0**-6, 2.0**-6)]).scale)
    grown = scale.next_state(shrunk, Observation(True, 2.0**10, 2.0**10))
    assert float(grown.scale) <= 2.0**15 / 2.0**10


def test_gradients_that_are_all_zero_teach_nothing() -> None:
    before = after(CalibratedScale(), [(True, 1.0, 2.0**-10)])
    state = CalibratedScale().next_state(before, Observation(True, 0.0, 0.0))
    assert float(state.scale) == float(before.scale)
    assert float(state.peak) == float(before.peak)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e30), st.floats(0, 1)), max_size=20))
def test_the_scale_never_leaves_its_bounds(steps: list[tuple[bool, float, float]]) -> None:
    scale = CalibratedScale(floor=2.0**-2, ceiling=2.0**20)
    observed = [(finite, large, large * share) for finite, large, share in steps]
    state = after(scale, observed)
    assert 2.0**-2 <= float(state.scale) <= 2.0**20
    assert math.frexp(float(state.scale))[0] == 0.5


@pytest.mark.parametrize("settings_", [{"initial": 1000.0}, {"floor": 3.0}, {"ceiling": 3000.0}])
def test_bounds_are_powers_of_two(settings_: dict[str, float]) -> None:
    ((name, value),) = settings_.items()
    with pytest.raises(InputError, match=f"{name}={value}(?s:.*)power of two"):
        CalibratedScale(**settings_)  # type: ignore[arg-type]  # (all of these are floats)
