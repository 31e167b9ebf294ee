"""Rounding to a format, against NumPy's own float16 and bfloat16."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.formats import FORMATS

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FLOATS = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("name", DTYPES)
@given(value=FLOATS)
def test_rounding_is_that_of_numpy(name: str, value: float) -> None:
    with np.errstate(over="ignore"):
        expected = float(np.float32(value).astype(DTYPES[name]))
    assert FORMATS[name].rounded(value) == expected


@pytest.mark.parametrize("name", DTYPES)
@given(bits=st.integers(0, 2**16 - 1))
def test_what_a_format_holds_stays(name: str, bits: int) -> None:
    value = float(np.array(bits, np.uint16).view(DTYPES[name]))
    if not math.isnan(value):
        assert FORMATS[name].rounded(value) == value


def test_the_edges_of_float16() -> None:
    half = FORMATS["float16"]
    assert half.rounded(65519.99) == 65504
    assert half.rounded(65520) == math.inf
    assert half.rounded(2.0**-25) == 0
    assert half.rounded(2.0**-25 * 1.01) == half.min_subnormal
