"""Weights that half precision holds still: every update is below half of their last digit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from floatline.findings.graph import graph, low
from floatline.records import Place, Site, Trace

LOST_SHARE = 0.5
"""Share of a variable's elements that the largest update cannot move: the variable stands still."""

STILL_SHARE = 0.5
"""Share of all trained weights in such variables at which the training as a whole stands still."""


def stands_still(traces: Sequence[Trace]) -> bool:
    """Whether most of the weights cannot move in any traced step in which float32's would."""
    still, moved = set[str | None](), set[str | None]()
    for trace in traces:
        lost = _lost(trace)
        still |= lost
        moved |= _changed(trace) - lost
    return bool(traces) and _share_of(still - moved, traces[-1]) >= STILL_SHARE


def begins_still(traces: Sequence[Trace]) -> bool:
    """Whether that is so in each traced step, the first included, and not only at the end."""
    shares = [_share_of(_lost(trace), trace) for trace in traces]
    return bool(shares) and min(shares) >= STILL_SHARE


def _share_of(names: set[str | None], trace: Trace) -> float:
    sites = trace.sites
    counts = {g.variable: sites[g.site].statistics.count for g in trace.gradients}
    total = sum(counts.values())
    return sum(n for name, n in counts.items() if name in names) / total if total else 0.0


def _lost(trace: Trace) -> set[str | None]:
    return {site.variable for site, _ in lost_updates(trace)}


def _changed(trace: Trace) -> set[str | None]:
    """The variables whose update is not 0 in float32."""
    return {site.variable for site, _, change in _updates(trace) if change.statistics.max_abs}


def lost_updates(trace: Trace) -> list[tuple[Site, float]]:
    """The updates that leave a variable where it is, each with the share of it that cannot move.

    One that is 0 in float32 as well, as behind weights that start at 0, loses nothing.
    """
    shares = (
        (replace(site, place=_place(site, weight)), _lost_share(weight, change))
        for site, weight, change in _updates(trace)
        if change.statistics.max_abs
    )
    return [(site, share) for site, share in shares if share >= LOST_SHARE]


def _updates(trace: Trace) -> Iterator[tuple[Site, Site, Site]]:
    """What is written into variables in half precision, with what was there, and its change."""
    view = graph(trace)
    weights = {s.variable: s for s in trace.sites if s.role == "parameter" and s.variable}
    for site in trace.sites:
        weight = weights.get(site.variable) if site.variable else None
        if site.place.phase != "update" or site.role != "value" or weight is None or not low(site):
            continue
        changes = [s for s in view.inputs(site) if s.role == "value"]
        if changes:
            yield site, weight, changes[-1]


def _place(site: Site, weight: Site) -> Place:
    """The update, in the layer whose weight it is."""
    layer, source = weight.place.layer, site.place.source or weight.place.source
    return replace(site.place, layer=layer, source=source, layer_class=weight.place.layer_class)


def _lost_share(weight: Site, change: Site) -> float:
    ends = low(weight)
    total = sum(weight.statistics.exponents.values())
    if ends is None or not total:
        return 0.0
    step = change.statistics.max_abs
    lost = (n for e, n in weight.statistics.exponents.items() if step < 2.0**e * ends.epsilon / 2)
    return sum(lost) / total
