"""Weights that half precision holds still: every update is below half of their last digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from floatline.findings.graph import graph, low
from floatline.records import Place, Site, Trace

LOST_SHARE = 0.5
"""Share of a variable's elements that the largest update cannot move: the variable stands still."""

STILL_SHARE = 0.5
"""Share of all trained weights in such variables at which the training as a whole stands still."""


def stands_still(traces: Sequence[Trace]) -> bool:
    """Whether most of the weights cannot move, in the first traced step as in every later one."""
    return bool(traces) and all(_still_share(trace) >= STILL_SHARE for trace in traces)


def _still_share(trace: Trace) -> float:
    sites = trace.sites
    counts = {g.variable: sites[g.site].statistics.count for g in trace.gradients}
    still = {site.variable for site, _ in lost_updates(trace)}
    total = sum(counts.values())
    return sum(n for name, n in counts.items() if name in still) / total if total else 0.0


def lost_updates(trace: Trace) -> list[tuple[Site, float]]:
    """The updates that leave a variable where it is, each with the share of it that cannot move."""
    view = graph(trace)
    weights = {s.variable: s for s in trace.sites if s.role == "parameter" and s.variable}
    pairs = []
    for site in trace.sites:
        weight = weights.get(site.variable) if site.variable else None
        if site.place.phase != "update" or site.role != "value" or weight is None or not low(site):
            continue
        changes = [s for s in view.inputs(site) if s.role == "value"]
        if changes and (part := _lost_share(weight, changes[-1])) >= LOST_SHARE:
            pairs.append((replace(site, place=_place(site, weight)), part))
    return pairs


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
