"""The loss-scale window: shares counted by hand, and scales tried on real numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline import records
from floatline.findings.window import (
    TOLERATED_SHARE,
    Zones,
    decisive_sites,
    lost_at_every_scale,
    low_format,
    share_below,
    window,
    zones,
)
from floatline.formats import FORMATS

BACK = records.Place("dense", "MatMul", "m", "backward")


def measured(values: np.ndarray) -> records.Statistics:
    """Statistics of float32 values, counted with NumPy."""
    magnitudes = np.abs(values[values != 0]).astype("float64")
    exponents, counts = np.unique(np.floor(np.log2(magnitudes)).astype(int), return_counts=True)
    return records.Statistics(
        count=values.size,
        max_abs=float(magnitudes.max()),
        min_abs_nonzero=float(magnitudes.min()),
        exponents=dict(zip(exponents.tolist(), counts.tolist(), strict=True)),
    )


def trace(*values: np.ndarray, scale: float | None = 1.0, dtype: str = "float16") -> records.Trace:
    sites = tuple(
        records.Site(i, BACK, "value", dtype, (v.size,), (i - 1,) if i else (), measured(v))
        for i, v in enumerate(values)
    )
    gradients = (records.GradientSite("kernel", "dense", len(sites) - 1),)
    return records.Trace(0, "first", sites, gradients, loss_scale=scale)


NORMAL = np.random.default_rng(0).normal(size=20_000).astype("float32")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("float16", Zones(-25, -14, 16)),
        ("bfloat16", Zones(-134, -126, 128)),
        ("float8_e5m2", Zones(-17, -14, 16)),
        ("float8_e4m3fn", Zones(-10, -6, 9)),
    ],
)
def test_the_borders_are_those_of_the_formats(name: str, expected: Zones) -> None:
    assert zones(FORMATS[name]) == expected


def test_float16_rounds_to_zero_below_its_border_and_to_infinity_from_it() -> None:
    borders = zones(FORMATS["float16"])
    with np.errstate(over="ignore"):
        assert np.float32(2.0**borders.flushed_below * 0.999).astype("float16") == 0
        assert np.float32(2.0**borders.flushed_below * 1.001).astype("float16") > 0
        assert np.isinf(np.float32(2.0**borders.saturated_from).astype("float16"))
        assert np.isfinite(np.float32(2.0**borders.saturated_from - 32).astype("float16"))


@pytest.mark.parametrize("power", [-20, -8, 0, 10, 16])
def test_the_share_lost_is_what_float16_really_loses(power: int) -> None:
    spread = (NORMAL * 2.0 ** np.random.default_rng(1).integers(-30, 0, NORMAL.size)).astype("f4")
    found = next(
        lost
        for lost in lost_at_every_scale(trace(spread), "float16")
        if lost.scale_exponent == power
    )
    with np.errstate(over="ignore", under="ignore"):
        half = (spread.astype("float64") * 2.0**power).astype("float16")
    nonzero = np.count_nonzero(spread)
    assert found.flushed == pytest.approx(np.count_nonzero((half == 0) & (spread != 0)) / nonzero)
    assert found.saturated == pytest.approx(np.isinf(half).mean(), abs=2e-3)


@given(st.integers(-12, 4), st.sampled_from([0.25, 1.0, 1024.0]))
def test_inside_the_window_nothing_is_lost_and_outside_something_is(
    power: int, scale: float
) -> None:
    values = (NORMAL * 2.0**power).astype("f4")
    found = window(trace(values, scale=scale), "float16")
    assert found.low is not None
    assert found.high is not None
    assert not found.empty
    # What was traced carries its scale already.
    true = values.astype("float64") / scale
    with np.errstate(over="ignore", under="ignore"):
        kept = np.abs((true * found.low).astype("float16")).astype("float64").sum()
        lost = np.abs((true * found.low / 4).astype("float16")).astype("float64").sum()
        assert kept == pytest.approx(np.abs(true * found.low).sum(), rel=2 * TOLERATED_SHARE)
        assert 4 * lost < kept
        assert np.isfinite((true * found.high).astype("float16")).all()
        assert np.isinf((true * found.high * 1.01).astype("float16")).any()


def test_values_too_far_apart_leave_no_window_and_are_named() -> None:
    found = window(trace(NORMAL * np.float32(2.0**-60), NORMAL), "float16")
    assert found.empty
    assert found.needs_more is not None
    assert found.needs_more.index == 0
    assert found.needs_less is not None
    assert found.needs_less.index == 1


def test_a_thin_tail_does_not_decide() -> None:
    tail = np.concatenate([NORMAL, np.full(10_000, 2.0**-80, "float32")])
    assert window(trace(tail), "float16").low == window(trace(NORMAL), "float16").low


def test_float32_values_count_only_where_no_value_is_low() -> None:
    wide = records.Site(1, BACK, "value", "float32", (), (0,), measured(NORMAL * np.float32(1e30)))
    both = trace(NORMAL)
    sites = (both.sites[0], wide)
    mixed = records.Trace(0, "first", sites, (records.GradientSite("kernel", "dense", 1),))
    assert window(mixed, "float16").high == window(both, "float16").high
    assert low_format(mixed) == "float16"
    assert low_format(trace(NORMAL, dtype="float32")) is None
    assert window(trace(NORMAL, dtype="float32"), "float16").high is not None


def test_without_a_backward_pass_there_is_no_window() -> None:
    empty = records.Trace(0, "first", ())
    found = window(empty, "float16")
    assert (found.low, found.high, found.empty) == (None, None, False)
    assert lost_at_every_scale(empty, "float16") == ()
    assert decisive_sites(empty, FORMATS) == frozenset()


def test_elements_spread_over_their_binade() -> None:
    assert share_below({}, 3) == 0.0
    assert share_below({0: 2, 1: 2}, 1.5) == 0.75
    assert math.isclose(share_below({-4: 1, 4: 9}, 0), 0.1)
