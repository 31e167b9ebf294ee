"""Vectors to be measured, and what their statistics are by the book: NumPy, in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from floatline.records import Statistics
from floatline.tracing.statistics import ROW

DTYPES: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
}
LEAST_NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 0.0}
"""Below it a computed value is subnormal; float32 is not judged."""

EDGES = [
    0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1.0, -1.0, 1 - 2.0**-24, 1 + 2.0**-23,
    2.0**-14, 2.0**-14 - 2.0**-25, 2.0**-24, -(2.0**-25), 65504.0, 65519.0, 65520.0, -1e9, 1e-8,
    2.0**-126, 1e30, -1e30, 1e-30, 2048.0, 2049.0,
]  # fmt: skip

NEAR = 1e-4
"""Relative distance of sums, which are added up in float32."""

FLOATS = st.sampled_from(EDGES) | st.floats(-(2.0**100), 2.0**100, width=32).filter(
    # TensorFlow's kernels take float32's own subnormal numbers for zeros.
    lambda x: x == 0 or abs(x) >= 2.0**-126
)


class Lanes(NamedTuple):
    """Values of equal length: of the real step, of the shadow, of one operation alone."""

    computed: np.ndarray
    shadow: np.ndarray
    local: np.ndarray

    def part(self, where: slice) -> Lanes:
        """The same elements of every lane."""
        return Lanes(*(lane[where] for lane in self))


@st.composite
def lanes(draw: st.DrawFn, dtype: str, *, most: int = 20) -> Lanes:
    """Lanes that are often equal, as in life, and otherwise have nothing to do with each other.

    But an operation whose float32 result is infinite gives no finite one in a narrower format.
    """
    size = draw(st.integers(0, most))
    shadow = np.array(draw(st.lists(FLOATS, min_size=size, max_size=size)), "float32")
    rounded = rounded_to(shadow, dtype)
    others = [np.array(draw(st.lists(FLOATS, min_size=size, max_size=size)), "float32")
              for _ in range(2)]  # fmt: skip
    masks = [np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)
             for _ in range(2)]  # fmt: skip
    computed = np.where(masks[0], rounded, rounded_to(others[0], dtype)).astype("float32")
    local = np.where(masks[1], shadow, others[1]).astype("float32")
    local = np.where(np.isfinite(computed) & ~np.isfinite(local), computed, local)
    return Lanes(computed, shadow, local)


def rounded_to(values: Any, dtype: str) -> np.ndarray:
    """The values as a format holds them, without its subnormal numbers where they are float32's."""
    with np.errstate(over="ignore", invalid="ignore"):
        low = np.asarray(values, "float32").astype(DTYPES[dtype]).astype("float32")
    return np.where(np.abs(low) < 2.0**-126, np.float32(0), low)


def in_rows(lane: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Parts of a vector, each in rows of its own."""
    parts = np.split(lane, np.cumsum(sizes)[:-1])
    padded = [np.pad(part, (0, -len(part) % ROW)) for part in parts]
    return np.concatenate([part.reshape(-1, ROW) for part in padded])


def by_the_book(found: Lanes, dtype: str) -> Statistics:
    """The definitions of `records.Statistics`, one after the other."""
    computed, shadow, local = (lane.astype("float64") for lane in found)
    finite, nonzero = np.isfinite(shadow), np.isfinite(shadow) & (shadow != 0)
    magnitudes = np.abs(shadow[finite])
    differing = (computed != shadow).sum() if dtype.startswith("int") else 0
    return Statistics(
        count=len(computed),
        zero=int((computed == 0).sum()),
        subnormal=int(((computed != 0) & (np.abs(computed) < LEAST_NORMAL.get(dtype, 0))).sum()),
        inf=int(np.isinf(computed).sum()),
        nan=int(np.isnan(computed).sum()),
        shadow_zero=int((shadow == 0).sum()),
        shadow_inf=int(np.isinf(shadow).sum()),
        shadow_nan=int(np.isnan(shadow).sum()),
        saturated=int((finite & np.isinf(computed)).sum()),
        flushed=int((nonzero & (computed == 0)).sum()),
        poisoned=int((finite & np.isnan(computed)).sum()),
        local_saturated=int((np.isfinite(local) & np.isinf(computed)).sum()),
        local_flushed=int((np.isfinite(local) & (local != 0) & (computed == 0)).sum()),
        local_nonfinite=int((~np.isfinite(local)).sum()),
        mismatched=int(differing),
        max_abs=float(magnitudes.max(initial=0)),
        min_abs_nonzero=float(np.abs(shadow[nonzero]).min()) if nonzero.any() else 0.0,
        computed_max_abs=float(np.abs(computed[np.isfinite(computed)]).max(initial=0)),
        local_error=relative(computed, local),
        error=relative(computed, shadow),
        exponents=exponents(shadow[nonzero]),
    )


def relative(computed: np.ndarray, truth: np.ndarray) -> float:
    """Sum of distances over sum of magnitudes, where both are finite."""
    both = np.isfinite(computed) & np.isfinite(truth)
    distance, size = np.abs(computed[both] - truth[both]).sum(), np.abs(truth[both]).sum()
    return float(distance / size) if size > 0 else float(distance > 0)


def exponents(values: np.ndarray) -> dict[int, int]:
    """How many values lie in [2**e, 2**(e+1))."""
    powers, counts = np.unique(np.frexp(values)[1] - 1, return_counts=True)
    return {int(power): int(count) for power, count in zip(powers, counts, strict=True)}


def assert_same(found: Statistics, truth: Statistics) -> None:
    """The same counts and largest values, and sums as near as float32 adds them up."""
    counts, expected = dataclasses.asdict(found), dataclasses.asdict(truth)
    for name in ("error", "local_error"):
        assert counts.pop(name) == pytest.approx(expected.pop(name), rel=NEAR, abs=1e-30), name
    assert counts == expected
