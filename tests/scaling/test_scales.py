"""The laws of the scales that know only whether a step was finite."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floatline.errors import InputError
from floatline.scaling.scales import DynamicScale, FixedScale, NoScale
from floatline.scaling.state import Observation


def run(scale: Any, steps: Any) -> list[float]:
    """The scale after each step, where a step is whether it was finite."""
    state, scales = scale.initial_state(), []
    for finite in steps:
        state = scale.next_state(state, Observation(finite, 1.0, 1.0))
        scales.append(float(state.scale))
    return scales


@pytest.mark.parametrize(("scale", "value"), [(NoScale(), 1.0), (FixedScale(100.0), 100.0)])
def test_a_constant_scale_never_changes_and_counts(scale: Any, value: float) -> None:
    assert run(scale, [True, False, True, False]) == [value] * 4
    state = scale.initial_state()
    for _ in range(3):
        state = scale.next_state(state, Observation(True, 1.0, 1.0))
    assert int(state.good_steps) == 3


def test_a_hundred_overflows_follow_the_closed_form_down_to_the_floor() -> None:
    scales = run(DynamicScale(initial=2.0**15, floor=2.0**-3), [False] * 100)
    assert scales == [max(2.0 ** (15 - n), 2.0**-3) for n in range(1, 101)]
    assert scales[20] == 2.0**-3  # The floor is really reached.


def test_the_scale_stays_at_one_unless_less_is_asked_for() -> None:
    assert run(DynamicScale(), [False] * 200)[-1] == 1.0
    assert run(DynamicScale(floor=2.0**-10), [False] * 200)[-1] == 2.0**-10


def test_finite_steps_follow_the_closed_form_up_to_the_ceiling() -> None:
    scales = run(DynamicScale(initial=4.0, growth_interval=3, ceiling=2.0**8), [True] * 30)
    assert scales == [min(4.0 * 2.0 ** (n // 3), 2.0**8) for n in range(1, 31)]
    assert math.isfinite(run(DynamicScale(initial=2.0**31, growth_interval=1), [True] * 99)[-1])


def test_an_overflow_starts_the_run_of_finite_steps_anew() -> None:
    scale = DynamicScale(initial=8.0, growth_interval=2)
    assert run(scale, [True, False, True, True]) == [8.0, 4.0, 4.0, 8.0]


def test_factors_other_than_two() -> None:
    scale = DynamicScale(initial=8.0, growth_factor=1.5, backoff_factor=0.25, growth_interval=1)
    assert run(scale, [True, False, False]) == [12.0, 3.0, 1.0]


def test_hysteresis_tolerates_overflows_until_the_last_one() -> None:
    scale = DynamicScale(initial=8.0, hysteresis=3)
    assert run(scale, [False, False, False, False]) == [8.0, 8.0, 4.0, 4.0]
    assert run(scale, [False, True, False, True, False]) == [8.0, 8.0, 8.0, 8.0, 4.0]


def test_a_shorter_growth_interval_takes_effect_at_once() -> None:
    state = DynamicScale(initial=8.0, growth_interval=100).initial_state()._replace(good_steps=50)
    shorter = DynamicScale(initial=8.0, growth_interval=10)
    assert float(shorter.next_state(state, Observation(True, 1.0, 1.0)).scale) == 16.0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 3))
def test_the_scale_never_leaves_its_bounds(
    steps: list[bool], interval: int, hysteresis: int
) -> None:
    scale = DynamicScale(64.0, growth_interval=interval, hysteresis=hysteresis, ceiling=1024.0)
    scales = run(scale, steps)
    assert all(1.0 <= value <= 1024.0 for value in scales)
    assert all(math.frexp(value)[0] == 0.5 for value in scales)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedScale(0.0), "FixedScale received value=0.0.*greater than 0"),
        (lambda: FixedScale(-2.0), "value=-2.0"),
        (lambda: FixedScale(math.inf), "value=inf.*finite"),
        (lambda: FixedScale(math.nan), "value=nan"),
        (lambda: FixedScale("8"), "value='8'"),  # type: ignore[arg-type]  # (what a user may pass)
        (lambda: DynamicScale(initial=0.5), "initial=0.5.*between floor=1 and ceiling="),
        (lambda: DynamicScale(ceiling=math.inf), "ceiling=inf"),
        (lambda: DynamicScale(floor=0.0), "floor=0.0"),
        (lambda: DynamicScale(growth_factor=1.0), "growth_factor=1.0.*greater than 1"),
        (lambda: DynamicScale(backoff_factor=1.0), "backoff_factor=1.0.*between 0 and 1"),
        (lambda: DynamicScale(growth_interval=0), "growth_interval=0.*at least 1"),
        (lambda: DynamicScale(hysteresis=0), "hysteresis=0"),
    ],
)
def test_bad_settings_are_refused_with_advice(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        make()
