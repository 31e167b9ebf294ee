"""Whole numbers that half precision rounds on their way: ids, labels, the number of a row."""

from __future__ import annotations

from floatline.findings.graph import Graph, low
from floatline.findings.operations import kind
from floatline.records import Site

CAST_HOPS = 4
"""Operations between the cast that rounds whole numbers and the one that makes integers again."""


def rounded_integers(view: Graph, site: Site) -> bool:
    """Whether a site makes integers of numbers that half precision has rounded to others."""
    if not _wrong(site) or kind(site.place.operation) != "cast" or not site.inputs:
        return False
    source = view.inputs(site)[0]
    ends = low(narrowing(view, site)) or low(source)
    return ends is not None and source.statistics.max_abs > ends.exact_integers


def narrowing(view: Graph, site: Site) -> Site:
    """The nearest operation before an integer cast that went to half precision."""
    for ancestor in view.ancestors(site, CAST_HOPS):
        if low(ancestor) and kind(ancestor.place.operation) == "cast":
            return ancestor
    return site


def picked_by(view: Graph, site: Site) -> Site | None:
    """The rounded integers by which a site takes rows that its table does not have: NaN on JAX."""
    waiting = [s for s in view.inputs(site) if _wrong(s)]
    for index in waiting:  # Grows while it is read: an index may be shifted, or bounded, first.
        if rounded_integers(view, index):
            return index
        waiting.extend(s for s in view.inputs(index) if _wrong(s) and s not in waiting)
    return None


def _wrong(site: Site) -> bool:
    return site.dtype.startswith(("int", "uint")) and site.statistics.mismatched > 0
