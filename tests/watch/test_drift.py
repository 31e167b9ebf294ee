"""Early warning on plain numbers: it tells how many steps are left, and is silent on noise."""

from __future__ import annotations

import math
import random

import pytest

from floatline.watch.drift import LEAST_POINTS, drift, slope
from floatline.watch.records import ActivationSample, Sample, VariableSample
from floatline.watch.trends import Trends

LIMIT = 65504.0


def growing(count: int, per_sample: float, noise: float = 0.0) -> list[tuple[int, float]]:
    source = random.Random(5)
    return [(50 * n, 2.0 ** (per_sample * n + source.uniform(-noise, noise))) for n in range(count)]


def test_it_tells_when_a_steady_growth_reaches_the_limit() -> None:
    found = drift("it", growing(13, 1.0), LIMIT)
    assert found is not None
    assert found.per_step == pytest.approx(1 / 50)
    # 2**12 is there; 65504 is 2**16 less a little: four samples of 50 steps.
    assert found.steps_left == pytest.approx(200, abs=1)


def test_noise_on_a_growth_changes_the_answer_little() -> None:
    found = drift("it", growing(13, 1.0, noise=0.3), LIMIT)
    assert found is not None
    assert found.steps_left == pytest.approx(200, rel=0.2)


def test_one_outlier_is_no_drift() -> None:
    points = [(50 * n, 1.0) for n in range(12)]
    assert drift("it", [*points[:-1], (550, 60000.0)], LIMIT) is None


def test_too_few_points_say_nothing() -> None:
    assert drift("it", growing(LEAST_POINTS - 1, 3.0), LIMIT) is None


def test_what_is_slowing_down_is_no_drift() -> None:
    logarithmic = [(50 * n, 8.0 * math.log2(2 + n)) for n in range(16)]
    assert drift("it", logarithmic, LIMIT) is None


def test_a_limit_far_away_is_no_warning() -> None:
    assert drift("it", growing(13, 1.0), 3.4e38) is None


@pytest.mark.parametrize("seed", range(30))
def test_a_random_walk_without_a_trend_is_silent(seed: int) -> None:
    source = random.Random(seed)
    points = [(100 * n, 2.0 ** (8 + source.gauss(0, 1.0))) for n in range(40)]
    assert all(drift("it", points[:n], LIMIT) is None for n in range(len(points)))


@pytest.mark.parametrize("bad", [0.0, math.inf, math.nan])
def test_values_without_an_exponent_are_left_out(bad: float) -> None:
    clean = growing(13, 1.0)
    found = drift("it", [*clean[:5], (225, bad), *clean[5:]], LIMIT)
    assert found is not None
    assert found.steps_left == pytest.approx(200, abs=1)


def test_the_slope_ignores_a_quarter_of_wild_points() -> None:
    points = [(n, 0.5 * n) for n in range(12)]
    wild = [(n, value + (1000.0 if n in (2, 7, 9) else 0.0)) for n, value in points]
    assert slope(wild) == pytest.approx(0.5)


def test_what_has_passed_its_limit_is_told_by_others() -> None:
    assert drift("it", growing(13, 1.0), 2.0**11) is None


def test_the_predictions_of_a_young_model_grow_to_their_targets() -> None:
    """From 1 to 60 they double in every second sample; as much again is far from the limit."""
    assert drift("it", growing(12, 0.5), LIMIT) is None


def gradients(count: int, per_sample: float) -> list[Sample]:
    activations = (ActivationSample("dense", "float16", 1.0),)
    return [
        Sample(step, True, 1.0, (VariableSample("w", "d", value, 1, 0, 1, 1, 0),), activations)
        for step, value in growing(count, per_sample)
    ]


@pytest.mark.parametrize(("least", "told"), [(1.0, 1), (0.25, 0), (0.0, 0)])
def test_gradients_have_the_limit_of_the_smallest_scale(least: float, told: int) -> None:
    """They grow from 1 to 2**8 while 2**16 is the limit, and to less than the half of 2**18."""
    trends = Trends(least)
    found = [trends.after(one) for one in gradients(9, 1.0)]
    assert sum(map(len, found)) == told


def sample(step: int, largest: float) -> Sample:
    activations = (ActivationSample("dense", "float16", largest),)
    return Sample(step, applied=True, boost=1.0, variables=(), activations=activations)


def test_a_drift_is_told_once() -> None:
    trends = Trends()
    told = [trends.after(sample(50 * n, 2.0**n)) for n in range(14)]
    assert sum(map(len, told)) == 1
    ((warning,),) = [found for found in told if found]
    assert "dense" in warning.quantity
    assert warning.limit == LIMIT
