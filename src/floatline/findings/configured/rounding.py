"""How far apart the numbers of a format are."""

from __future__ import annotations

import math

from floatline.formats import Format


def half_unit(value: float, ends: Format) -> float:
    """Half a unit in the last place of a magnitude: what is smaller does not move it.

    Example:

    >>> from floatline.formats import FORMATS
    >>> half_unit(1.0, FORMATS["float16"]) == 2.0**-11
    True
    """
    binade = max(math.frexp(value)[1] - 1, ends.min_normal_exponent)
    return math.ldexp(ends.epsilon, binade - 1)
