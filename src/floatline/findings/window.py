"""The loss-scale window: from one traced step, what every other loss scale would do.

Gradients are linear in the loss scale S, so the histogram of their float32 shadow at one S tells
for every S which share a format would flush to 0, and whether anything would saturate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from floatline.findings.graph import graph
from floatline.findings.summaries import summaries
from floatline.formats import FORMATS, LOW_FORMATS, Format
from floatline.records import Site, Trace

TOLERATED_SHARE = 0.01
"""Share of the sum of magnitudes of a value that may be flushed. A sum, which is what becomes of
the elements of a gradient, loses no more; counting elements would make thin tails decisive."""

SCALE_EXPONENTS = range(-24, 41)
"""Powers of two that are looked at as loss scales; 2^40 is the whole range of float16."""


@dataclass(frozen=True, slots=True)
class Zones:
    """Where the binades of a format lie, as powers of two.

    Attributes:
        flushed_below: Magnitudes below this power are rounded to 0: half the smallest subnormal.
        normal_from: The smallest normal magnitude.
        saturated_from: From this power on values are infinite, or the largest of the format.
    """

    flushed_below: int
    normal_from: int
    saturated_from: int


@dataclass(frozen=True, slots=True)
class Lost:
    """What one loss scale would lose: shares of the nonzero values of the backward pass."""

    scale_exponent: int
    flushed: float
    saturated: float


@dataclass(frozen=True, slots=True)
class Window:
    """The loss scales at which no value of the backward pass is flushed and none saturates.

    Attributes:
        format: Name of the number format.
        low: Smallest scale at which every value keeps all but `TOLERATED_SHARE` of its
            magnitude; None when there is no backward pass in the trace.
        high: Largest scale at which no value saturates; None likewise.
        needs_more: The value that sets `low`.
        needs_less: The value that sets `high`.
    """

    format: str
    low: float | None
    high: float | None
    needs_more: Site | None
    needs_less: Site | None

    @property
    def empty(self) -> bool:
        """Whether no global loss scale serves both ends."""
        return self.low is not None and self.high is not None and self.low > self.high


def zones(form: Format) -> Zones:
    """The borders of a format.

    Example:

    >>> zones(FORMATS["float16"])
    Zones(flushed_below=-25, normal_from=-14, saturated_from=16)
    """
    smallest = form.min_normal_exponent - form.precision_bits + 1
    return Zones(smallest - 1, form.min_normal_exponent, form.max_exponent + 1)


def low_format(trace: Trace) -> str | None:
    """The low format in which most values of the step were computed; None when there is none."""
    found = Counter(site.dtype for site in trace.sites if site.dtype in LOW_FORMATS)
    return found.most_common(1)[0][0] if found else None


def share_below(exponents: Mapping[int, int], border: float) -> float:
    """Share of the elements whose magnitude is below 2**border.

    Elements spread evenly over their binade, as far as is known.

    Example:

    >>> share_below({-3: 1, 0: 3}, 0), share_below({0: 4}, 0.25)
    (0.25, 0.25)
    """
    total = sum(exponents.values())
    below = sum(n * min(1.0, max(0.0, border - e)) for e, n in exponents.items())
    return below / total if total else 0.0


def window(trace: Trace, name: str) -> Window:
    """The loss scales that would serve a step, were it computed in a format.

    Args:
        trace: The traced step.
        name: The format, a key of `FORMATS`.
    """
    form, found = FORMATS[name], _backward(trace)
    needs = [(_least(trace, site, zones(form)), site) for site in found]
    allows = [(_most(trace, site, form), site) for site in found]
    low, needs_more = max(needs, key=lambda pair: pair[0], default=(None, None))
    high, needs_less = min(allows, key=lambda pair: pair[0], default=(None, None))
    return Window(name, low, high, needs_more, needs_less)


def lost_at_every_scale(trace: Trace, name: str) -> tuple[Lost, ...]:
    """For each of `SCALE_EXPONENTS` the shares of the backward pass that would be lost."""
    borders, now = zones(FORMATS[name]), math.log2(scale_of(trace))
    backward = [s for s in summaries(trace) if s.phase == "backward" and s.dtype in FORMATS]
    low = [summary for summary in backward if summary.dtype in LOW_FORMATS]
    exponents: Counter[int] = Counter()
    for summary in low or backward:
        exponents.update(summary.statistics.exponents)
    return tuple(
        Lost(
            power,
            share_below(exponents, borders.flushed_below - (power - now)),
            1.0 - share_below(exponents, borders.saturated_from - (power - now)),
        )
        for power in SCALE_EXPONENTS
        if exponents
    )


def scale_of(trace: Trace) -> float:
    """The loss scale of the traced step; 1 when it scales nothing."""
    scale = trace.loss_scale
    return scale if scale is not None and 0 < scale < math.inf else 1.0


def decisive_sites(trace: Trace, names: Iterable[str]) -> frozenset[int]:
    """Indices of the sites that set the windows of formats, for whoever keeps only some sites."""
    found = (window(trace, name) for name in names)
    sites = (site for one in found for site in (one.needs_more, one.needs_less))
    return frozenset(site.index for site in sites if site is not None)


def _backward(trace: Trace) -> list[Site]:
    """What a loss scale moves and training reads: low values, or all of them if none is low."""
    leading = graph(trace).leading_to(gradient.site for gradient in trace.gradients)
    found = [
        site
        for site in trace.sites
        if site.place.phase == "backward" and site.role == "value" and site.statistics.exponents
        if site.dtype in FORMATS and (site.index in leading or not leading)
    ]
    return [site for site in found if site.dtype in LOW_FORMATS] or found


def _least(trace: Trace, site: Site, borders: Zones) -> float:
    """The smallest scale, in whole powers of two from the present one, that keeps a value."""
    lowest = borders.flushed_below - max(site.statistics.exponents)
    powers = range(lowest, borders.flushed_below - min(site.statistics.exponents) + 1)
    magnitudes = {e: math.ldexp(n, e) for e, n in site.statistics.exponents.items()}
    total = sum(magnitudes.values())
    for power in powers:
        below = sum(m for e, m in magnitudes.items() if e + power < borders.flushed_below)
        if below <= TOLERATED_SHARE * total:
            break
    return _shifted(scale_of(trace), power)


def _most(trace: Trace, site: Site, form: Format) -> float:
    largest = site.statistics.max_abs
    return scale_of(trace) / largest * form.max_finite if largest > 0 else math.inf


def _shifted(scale: float, power: int) -> float:
    try:
        return math.ldexp(scale, power)
    except OverflowError:
        return math.inf
