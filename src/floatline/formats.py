"""Number formats as a table: where each one floats, in powers of two."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format.

    Attributes:
        name: Name as the frameworks spell it.
        bits: Storage bits.
        precision_bits: Significand bits, the hidden one included.
        max_exponent: Exponent e of the largest finite value's binade [2**e, 2**(e+1)).
        min_normal_exponent: Exponent of the smallest normal value.
        max_finite: Largest finite magnitude.

    Example:

    >>> FORMATS["float16"].max_finite
    65504.0
    >>> FORMATS["float16"].min_subnormal == 2.0**-24
    True
    >>> FORMATS["bfloat16"].exact_integers
    256
    """

    name: str
    bits: int
    precision_bits: int
    max_exponent: int
    min_normal_exponent: int
    max_finite: float

    @property
    def epsilon(self) -> float:
        """Distance from 1 to the next larger value."""
        return 2.0 ** (1 - self.precision_bits)

    @property
    def min_normal(self) -> float:
        """Smallest magnitude with full precision."""
        return 2.0**self.min_normal_exponent

    @property
    def min_subnormal(self) -> float:
        """Smallest nonzero magnitude; half of it and less rounds to 0."""
        return 2.0 ** (self.min_normal_exponent - self.precision_bits + 1)

    @property
    def exact_integers(self) -> int:
        """Every integer up to this one is representable."""
        return 1 << self.precision_bits

    def rounded(self, value: float) -> float:
        """The number that the format holds in place of `value`: to nearest, ties to even.

        Example:

        >>> half = FORMATS["float16"]
        >>> half.rounded(1e-8), half.rounded(-1e9), half.rounded(2049.0), half.rounded(-9999.0)
        (0.0, -inf, 2048.0, -10000.0)
        """
        if value == 0 or not math.isfinite(value):
            return value
        if abs(value) >= 2 * self.max_finite:
            return math.copysign(math.inf, value)
        binade = max(math.frexp(value)[1] - 1, self.min_normal_exponent)
        unit = binade - self.precision_bits + 1
        nearest = math.ldexp(round(math.ldexp(value, -unit)), unit)
        return nearest if abs(nearest) <= self.max_finite else math.copysign(math.inf, value)


def _ieee(name: str, bits: int, precision_bits: int, max_exponent: int) -> Format:
    largest = (2.0 - 2.0 ** (1 - precision_bits)) * 2.0**max_exponent
    return Format(name, bits, precision_bits, max_exponent, 1 - max_exponent, largest)


# IEEE 754-2019 for 16, 32 and 64 bits; bfloat16 has float32's exponents and 8 significand bits;
# float8 from the OCP 8-bit floating point specification, where E4M3 has no infinity.
FORMATS: dict[str, Format] = {
    "float64": _ieee("float64", 64, 53, 1023),
    "float32": _ieee("float32", 32, 24, 127),
    "float16": _ieee("float16", 16, 11, 15),
    "bfloat16": _ieee("bfloat16", 16, 8, 127),
    "float8_e5m2": _ieee("float8_e5m2", 8, 3, 15),
    "float8_e4m3fn": Format("float8_e4m3fn", 8, 4, 8, -6, 448.0),
}

LOW_FORMATS: tuple[str, ...] = ("float16", "bfloat16")
"""The formats that are given a float32 shadow."""
