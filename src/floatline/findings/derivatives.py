"""Derivatives that half precision does not hold: of a length, and of another derivative."""

from __future__ import annotations

from collections.abc import Iterator

from floatline.findings.graph import Graph
from floatline.findings.operations import kind
from floatline.records import Site

DERIVATIVE_HOPS = 4
"""Operations between a gradient that breaks and what it is the derivative of."""

LENGTH_HOPS = 5
"""Operations between a square and the root of its sum: casts, the sum, an epsilon."""


def divides_by_length(graph: Graph, site: Site) -> bool:
    """Whether a gradient is that of x / |x|, which grows as 1 / |x| where x is small.

    It reads the root of a sum of squares, and what was squared is divided by that root.
    """
    near = (site, *graph.ancestors(site, DERIVATIVE_HOPS))
    return any(_length_of_what_it_divides(graph, other) for other in near)


def second_order(graph: Graph, site: Site) -> bool:
    """Whether a site computes with a gradient that the loss is made of, or differentiates that."""
    if site.index in graph.second or site.place.phase != "backward":
        return site.index in graph.second
    near = graph.ancestors(site, DERIVATIVE_HOPS) if graph.second else ()
    return any(other.index in graph.second for other in near)


def _length_of_what_it_divides(graph: Graph, root: Site) -> bool:
    what = kind(root.place.operation)
    if root.place.phase != "forward" or what not in ("root", "norm"):
        return False
    squared = {graph.uncast(s).index for s in _squared(graph, root, norm=what == "norm")}
    return not squared.isdisjoint(_divided(graph, root))


def _squared(graph: Graph, root: Site, *, norm: bool) -> Iterator[Site]:
    """What the root is the length of."""
    if norm:
        yield from graph.inputs(root)
        return
    near = list(graph.ancestors(root, LENGTH_HOPS))
    if not any(kind(s.place.operation) == "reduction" for s in near):
        return
    for square in near:
        what, read = kind(square.place.operation), set(square.inputs)
        if what == "square" or (what in ("multiply", "power") and len(read) == 1):
            yield from (graph.trace.sites[index] for index in read)


def _divided(graph: Graph, root: Site) -> Iterator[int]:
    """What is divided by the root, or multiplied by its inverse."""
    ahead = graph.descendants(root, DERIVATIVE_HOPS, lambda s: s.place.phase == "forward")
    reached = {root.index}
    for site in ahead:
        reached.add(site.index)
        if kind(site.place.operation) in ("divide", "multiply"):
            for other in graph.inputs(site):
                if other.index not in reached and other.role == "value":
                    yield graph.uncast(other).index
