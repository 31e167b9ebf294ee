"""Statistics of single numbers of the code, which need no tensor on any device."""

from __future__ import annotations

import math
from functools import cache

import torch

from floatline.formats import FORMATS
from floatline.records import Statistics


@cache
def of_literal(value: float, dtype: str, *, rounded: bool) -> Statistics:
    """The measurements of a literal, which need no tensor: alone, or rounded to `dtype`.

    Example:

    >>> of_literal(1e-9, "float16", rounded=True).flushed
    1
    """
    computed = value
    if rounded:
        computed = float(torch.tensor(value, dtype=torch.float64).to(getattr(torch, dtype)))
    magnitude, seen = abs(value), abs(computed)
    finite, flushed = math.isfinite(magnitude), seen == 0.0 < magnitude
    saturated = finite and math.isinf(seen)
    known = finite and magnitude > 0
    off = 1.0 if saturated else abs(computed - value) / magnitude if known else 0.0
    return Statistics(
        count=1,
        zero=int(seen == 0),
        subnormal=int(0 < seen < FORMATS[dtype].min_normal),
        inf=int(math.isinf(seen)),
        nan=int(math.isnan(seen)),
        shadow_zero=int(magnitude == 0),
        shadow_inf=int(math.isinf(magnitude)),
        shadow_nan=int(math.isnan(magnitude)),
        saturated=int(saturated),
        flushed=int(flushed),
        local_saturated=int(saturated),
        local_flushed=int(flushed),
        local_nonfinite=int(not finite),
        max_abs=magnitude if finite else 0.0,
        min_abs_nonzero=magnitude if known else 0.0,
        computed_max_abs=seen if math.isfinite(seen) else 0.0,
        local_error=off,
        error=off,
        exponents={math.frexp(magnitude)[1] - 1: 1} if known else {},
    )


@cache
def is_exact(value: float, dtype: torch.dtype) -> bool:
    """Whether rounding to `dtype` changes nothing; not-numbers and infinities are exact, too.

    Example:

    >>> is_exact(0.5, torch.float16), is_exact(0.1, torch.float16)
    (True, False)
    """
    rounded = float(torch.tensor(value, dtype=torch.float64).to(dtype))
    return rounded == value or not math.isfinite(value)
