"""Moving averages that half precision holds still, because what they take in rounds away.

`a * w + (1 - a) * x`, `w + (1 - a) * (x - w)` and `lerp` move `w` by the share `1 - a` of its
distance from `x`. Rounding takes up to half an epsilon of `w`. Where the share is smaller than
that, an element moves only when it is off by its own size, and the average stands still although
nothing looks wrong. Where it is larger, an element comes nearer and stops before it has arrived.
Then an average of what scatters, such as the statistics of batches, is off by less than they are;
one of weights, which come to rest, is not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from floatline.findings.graph import Graph, graph, low
from floatline.findings.operations import kind
from floatline.records import Site, Trace

LEAST_SHARE = 1e-6
"""Share of the new value below which float32 itself cannot tell it from none."""

LAG = 0.1
"""Share of its size by which an average must lag behind before it matters that it stands still."""

HELD_BACK = 8.0
"""Half epsilons of the format below which the share must be for rounding to take a decisive part
of it: an element stops moving an eighth of its size, or more, before it arrives."""

STILL_SHARE = 0.5
"""Share of what an average should have taken in, in a step, that rounding took, where it stops."""

UPDATE_HOPS = 6
"""Operations between what an average held and what is written to it, casts and copies included."""

_ADDS = ("add", "subtract")
_WRITES = ("assignadd", "assignsub")
_MOVES = ("copy", "assign")
_BLENDS = ("lerp", "_foreach_lerp")


@dataclass(frozen=True, slots=True)
class StillAverage:
    """A moving average that stands still.

    Attributes:
        site: What is written into it.
        share: What it takes in of each new value, in float32.
        lag: How far what is lost in this step is from it, in parts of its size.
    """

    site: Site
    share: float
    lag: float


def still_averages(trace: Trace) -> tuple[StillAverage, ...]:
    """The averages of one step that no gradient trains and no weight's update is made of.

    What only serves the update of other variables, as the second moments of Adam do, shows in the
    loss. What a forward pass reads, or what waits for an evaluation, does not.
    """
    return tuple(found.average for found in _averages(graph(trace)) if found.stops)


def slow_averages(trace: Trace) -> tuple[StillAverage, ...]:
    """Those that still move, but that rounding holds back, and that the loss is made of."""
    view = graph(trace)
    reaching = view.leading_to(view.ends)
    return tuple(
        found.average
        for found in _averages(view)
        if found.held and not found.stops and found.weight.index in reaching
    )


def _averages(view: Graph) -> Iterator[_Lagging]:
    trained = {gradient.variable for gradient in view.trace.gradients}
    for site in view.trace.sites:
        name, ends = site.variable, low(site)
        if site.role != "value" or name is None or ends is None or name in trained:
            continue
        weight = _before(view, site, name)
        if weight is None or _serves(view, weight, name):
            continue
        intake = _intake(view, site, weight)
        if intake.share <= LEAST_SHARE:
            continue
        lag = site.statistics.error / intake.share
        if lag >= LAG:
            stops = intake.share < ends.epsilon / 2 or _stops(site, intake, trained)
            held = intake.share < HELD_BACK * ends.epsilon / 2
            yield _Lagging(StillAverage(site, intake.share, lag), weight, stops=stops, held=held)


@dataclass(frozen=True, slots=True)
class _Lagging:
    """A moving average that lags behind.

    Attributes:
        average: The average.
        weight: What it held before.
        stops: Whether it moves no more.
        held: Whether rounding takes a decisive part of what it takes in.
    """

    average: StillAverage
    weight: Site
    stops: bool
    held: bool


@dataclass(frozen=True, slots=True)
class _Intake:
    """What a variable takes in of a new value.

    Attributes:
        share: The share of it; 0 where the variable is written in another way.
        change: What is added to the variable, where that is a value of its own.
        source: The variable that the new value is; None where it is none.
    """

    share: float = 0.0
    change: Site | None = None
    source: str | None = None


def _stops(site: Site, intake: _Intake, trained: Collection[str]) -> bool:
    """Whether an average of a weight has come to rest before it has arrived."""
    if intake.change is None or intake.source not in trained:
        return False
    lost = site.statistics.error * _magnitude(site)
    return lost >= STILL_SHARE * _magnitude(intake.change) > 0


def _magnitude(site: Site) -> float:
    """The sum of the magnitudes, as exactly as their powers of two tell it."""
    parts = site.statistics.exponents.items()
    return sum(count * math.ldexp(math.sqrt(2), exponent) for exponent, count in parts)


def _before(view: Graph, site: Site, name: str) -> Site | None:
    """What a variable held before it was written to; names of variables need not be unique."""
    near = view.ancestors(site, UPDATE_HOPS)
    return next((s for s in near if s.role == "parameter" and s.variable == name), None)


def _serves(view: Graph, weight: Site, name: str) -> bool:
    """Whether the update of another variable is made of this one."""
    ahead = view.descendants(weight, through=lambda s: s.place.phase == "update")
    return any(site.variable not in (None, name) for site in ahead)


def _intake(view: Graph, site: Site, weight: Site) -> _Intake:
    total = _uncast(view, site)
    if _named(total, _BLENDS):
        return _Intake(max((i.constant or 0.0 for i in view.inputs(total)), default=0.0))
    return max(_intakes(view, total, weight), key=lambda intake: intake.share, default=_Intake())


def _intakes(view: Graph, total: Site, weight: Site) -> Iterator[_Intake]:
    if kind(total.place.operation) not in _ADDS and not _named(total, _WRITES):
        return
    parts = [_uncast(view, part) for part in view.inputs(total)]
    for kept in parts:
        if _is_product_of(view, kept, weight) and weight.statistics.max_abs:
            yield _Intake(1.0 - kept.statistics.max_abs / weight.statistics.max_abs)
    if not any(part is weight for part in parts):
        return
    for change in parts:
        apart = [d for d in (_uncast(view, s) for s in view.inputs(change)) if d.shape]
        if kind(change.place.operation) == "multiply" and len(apart) == 1:
            (difference,) = apart
            if _is_distance(view, difference, weight) and difference.statistics.max_abs:
                share = change.statistics.max_abs / difference.statistics.max_abs
                ends = (_uncast(view, end) for end in view.inputs(difference))
                source = next((end.variable for end in ends if end is not weight), None)
                yield _Intake(share, change, source)


def _is_product_of(view: Graph, site: Site, weight: Site) -> bool:
    factors = [_uncast(view, factor) for factor in view.inputs(site)]
    alone = sum(factor.statistics.count > 1 for factor in factors) <= 1
    product = kind(site.place.operation) == "multiply" and alone
    return product and any(factor is weight for factor in factors)


def _is_distance(view: Graph, site: Site, weight: Site) -> bool:
    ends = [_uncast(view, end) for end in view.inputs(site)]
    return kind(site.place.operation) == "subtract" and any(end is weight for end in ends)


def _uncast(view: Graph, site: Site) -> Site:
    """The value before it was cast or copied."""
    while site.role == "value" and site.inputs and _moves(site):
        site = view.inputs(site)[0]
    return site


def _moves(site: Site) -> bool:
    copies = len(site.inputs) == 1 and _named(site, _MOVES) and not _named(site, _WRITES)
    return copies or kind(site.place.operation) == "cast"


def _named(site: Site, beginnings: tuple[str, ...]) -> bool:
    return site.place.operation.lower().startswith(beginnings)
