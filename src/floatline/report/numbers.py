"""Numbers as people read them: shares in percent, magnitudes in powers of two."""

from __future__ import annotations

import math

from floatline.records import Number

_WORDS = {
    "shadow_max_abs": "largest value in float32",
    "format_max": "largest of the format",
    "float32_loss": "loss in float32",
}

_SHARE_ENDINGS = ("share", "fraction")
_POWER_WORDS = ("scale", "max", "min_abs", "largest", "smallest", "magnitude", "limit")


def share(value: float) -> str:
    """A share between 0 and 1 in percent.

    Example:

    >>> share(0.5), share(0.99996), share(0.0), share(0.00003)
    ('50 %', '>99.9 %', '0 %', '<0.1 %')
    """
    if not math.isfinite(value):
        return plain(value)
    if 0.0 < value < 0.001:
        return "<0.1 %"
    if 0.999 < value < 1.0:
        return ">99.9 %"
    return f"{value * 100:.3g} %"


def plain(value: float) -> str:
    """A number with three or four significant digits, whole numbers with their thousands apart.

    Example:

    >>> plain(65504), plain(0.6931), plain(98123.4), plain(6e-8), plain(float("inf"))
    ('65,504', '0.6931', '98,123', '6e-08', 'infinite')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e3 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def power(value: float) -> str:
    """A magnitude with its power of two, which is what decides whether a format can hold it.

    Example:

    >>> power(32768.0), power(98123.4), power(0.0), power(-3.0), power(1.0)
    ('32,768 (2^15)', '98,123 (2^16.6)', '0', '-3 (-2^1.6)', '1')
    """
    if not math.isfinite(value) or value in (0, 1):
        return plain(value)
    exponent = math.log2(abs(value))
    exact = exponent == int(exponent)
    sign = "-" if value < 0 else ""
    return f"{plain(value)} ({sign}2^{int(exponent) if exact else f'{exponent:.1f}'})"


def exponent(value: float | None) -> float | None:
    """The power of two of a magnitude; None for what has none.

    Example:

    >>> exponent(8.0), exponent(0.0), exponent(float("nan")), exponent(None)
    (3.0, None, None, None)
    """
    return math.log2(value) if value is not None and 0 < value < math.inf else None


def evidence(name: str, value: Number) -> str:
    """A number of a finding's evidence; its name tells the unit.

    Example:

    >>> evidence("flushed_share", 0.31), evidence("loss_scale", 64.0), evidence("elements", 2048)
    ('31 %', '64 (2^6)', '2,048')
    >>> evidence("format", "float16"), evidence("finite", True), evidence("loss", None)
    ('float16', 'yes', 'not known')
    """
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if name.endswith(_SHARE_ENDINGS):
        return share(value)
    if any(word in name for word in _POWER_WORDS):
        return power(value)
    return plain(value)


def label(name: str) -> str:
    """A name of the evidence as words.

    Example:

    >>> label("shadow_max_abs"), label("skipped_steps")
    ('largest value in float32', 'skipped steps')
    """
    return _WORDS.get(name, name.replace("_", " "))


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    Example:

    >>> counted(1, "step"), counted(1200, "step"), counted(0, "entry", "entries")
    ('1 step', '1,200 steps', '0 entries')
    """
    noun = singular if number == 1 else plural or f"{singular}s"
    return f"{number:,} {noun}"
