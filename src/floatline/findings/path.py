"""The way of a fault: from the value at which it arises to the loss or gradient that it reaches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from floatline.findings.graph import graph
from floatline.records import Finding, Site, Trace


def origin(finding: Finding, traces: Sequence[Trace]) -> tuple[Trace, Site] | None:
    """The traced value that a finding is about; None when no trace holds its place."""
    if finding.place is None:
        return None
    step = finding.evidence.get("step")
    for trace in sorted(traces, key=lambda trace: trace.step != step):
        here = [site for site in trace.sites if site.place == finding.place]
        if here:
            return trace, max(here, key=_harm)
    return None


def way(trace: Trace, start: Site) -> tuple[Site, ...]:
    """The shortest way from a site to what training acts on: the loss, else a gradient.

    Returns:
        The sites on it, `start` first; `start` alone when nothing that training acts on reads it.
    """
    view = graph(trace)
    before: dict[int, int] = {start.index: start.index}
    queue = deque([start.index])
    reached: list[int] = []
    while queue:
        index = queue.popleft()
        if index in view.ends:
            reached.append(index)
        for reader in view.readers[index]:
            if reader not in before:
                before[reader] = index
                queue.append(reader)
    end = next((i for i in reached if i in trace.losses), next(iter(reached), start.index))
    return tuple(trace.sites[index] for index in _back(before, end))


def _back(before: dict[int, int], end: int) -> list[int]:
    found = [end]
    while before[found[-1]] != found[-1]:
        found.append(before[found[-1]])
    return found[::-1]


def _harm(site: Site) -> tuple[int, float]:
    numbers = site.statistics
    return numbers.local_saturated + numbers.local_flushed, numbers.local_error
