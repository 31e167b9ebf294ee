"""Many sites seen as few: the measurements of groups of sites, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from floatline.records import Site, Statistics, Summary, Trace

_COUNTS = (
    "count zero subnormal inf nan shadow_zero shadow_inf shadow_nan saturated flushed poisoned "
    "local_saturated local_flushed local_nonfinite mismatched"
).split()
_LARGEST = "max_abs computed_max_abs local_error error".split()


def summaries(trace: Trace) -> tuple[Summary, ...]:
    """The sites of a trace, grouped by layer, phase, role, dtype and source line.

    The groups are in order of their first site. A trace that was made smaller has kept them.
    """
    if trace.summaries:
        return trace.summaries
    groups: dict[tuple[Any, ...], list[Site]] = {}
    for site in trace.sites:
        place = site.place
        key = (place.layer, place.layer_class, place.phase, site.role, site.dtype, place.source)
        groups.setdefault(key, []).append(site)
    return tuple(_summary(sites) for sites in groups.values())


def _summary(sites: Sequence[Site]) -> Summary:
    place = sites[0].place
    return Summary(
        layer=place.layer,
        layer_class=place.layer_class,
        phase=place.phase,
        role=sites[0].role,
        dtype=sites[0].dtype,
        source=place.source,
        sites=len(sites),
        statistics=together([site.statistics for site in sites]),
    )


def together(parts: Sequence[Statistics]) -> Statistics:
    """The statistics of all elements of several values, of one at least.

    Example:

    >>> both = together([Statistics(2, max_abs=4.0, exponents={2: 2}), Statistics(3, zero=3)])
    >>> both.count, both.zero, both.max_abs, both.exponents
    (5, 3, 4.0, {2: 2})
    """
    if len(parts) == 1:
        return parts[0]
    exponents: Counter[int] = Counter()
    for part in parts:
        exponents.update(part.exponents)
    smallest = (part.min_abs_nonzero for part in parts if part.min_abs_nonzero)
    counts: dict[str, Any] = {n: sum(getattr(part, n) for part in parts) for n in _COUNTS}
    largest = {name: max(getattr(part, name) for part in parts) for name in _LARGEST}
    return Statistics(
        **counts,
        **largest,
        min_abs_nonzero=min(smallest, default=0.0),
        exponents=dict(sorted(exponents.items())),
    )


def fewer(found: Sequence[Summary], limit: int) -> tuple[Summary, ...]:
    """At most `limit` groups: layers are taken together with their neighbours, inner ones first.

    Paths are shortened as far as needed; what still has no room is taken together in one group
    per phase, role and dtype.
    """
    depth = max((len(_parts(summary)) for summary in found), default=0)
    groups = tuple(found)
    while len(groups) > limit and depth > 1:
        depth -= 1
        groups = _merged(replace(s, layer=_shortened(s, depth), layer_class=None) for s in groups)
    if len(groups) > limit:
        groups = _merged(replace(summary, source=None) for summary in groups)
    if len(groups) > limit:
        rest = (replace(s, layer=REST, layer_class=None) for s in groups[limit // 2 :])
        groups = (*groups[: limit // 2], *_merged(rest))
    return groups


REST = "(further layers)"
"""Stands for the layers that have no room of their own."""


def _parts(summary: Summary) -> list[str]:
    return (summary.layer or "").split("/")


def _shortened(summary: Summary, depth: int) -> str | None:
    return None if summary.layer is None else "/".join(_parts(summary)[:depth])


def _merged(found: Iterable[Summary]) -> tuple[Summary, ...]:
    groups: dict[tuple[Any, ...], list[Summary]] = {}
    for summary in found:
        key = (summary.layer, summary.phase, summary.role, summary.dtype, summary.source)
        groups.setdefault(key, []).append(summary)
    return tuple(
        replace(
            group[0],
            sites=sum(summary.sites for summary in group),
            statistics=together([summary.statistics for summary in group]),
        )
        for group in groups.values()
    )
