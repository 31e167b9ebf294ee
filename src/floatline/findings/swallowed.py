"""Zeros that an infinity left behind, exp(-inf) or 1 / inf, until something breaks on them."""

from __future__ import annotations

from collections.abc import Iterable

from floatline.findings.graph import Graph
from floatline.records import Site


def bridges(view: Graph, breaking: Iterable[Site]) -> frozenset[int]:
    """Finite sites by which an infinity of half precision alone leads to what breaks on a zero.

    A mask that became -inf is gone after the exponential; where a row has nothing else, its sum is
    0, which it is not in float32. The reciprocal or the logarithm of that sum breaks because of the
    mask, however far away it is: the gradient, too, reads the sum again.

    Args:
        view: The trace as a graph.
        breaking: Sites with finite inputs at which non-finite values arise.
    """
    swallowing = _swallowing(view)
    broken = (s for s in breaking if s.statistics.local_nonfinite > s.statistics.local_saturated)
    stack = [index for site in broken for index in site.inputs if index in swallowing]
    found = set(stack)
    while stack:
        for index in view.trace.sites[stack.pop()].inputs:
            if index in swallowing and index not in found:
                found.add(index)
                stack.append(index)
    return frozenset(found)


def _swallowing(view: Graph) -> frozenset[int]:
    """Sites with zeros that float32 does not have and that were not flushed there: they came in.

    They come from an infinity that float32 does not have either, or from such a zero.
    """
    found = set[int]()
    for site in view.trace.sites:
        numbers = site.statistics
        if numbers.nonfinite or numbers.flushed <= numbers.local_flushed:
            continue
        if any(view.harmed(i) or i.index in found for i in view.inputs(site)):
            found.add(site.index)
    return frozenset(found)
