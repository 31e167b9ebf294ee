"""What a loop carries from one turn to the next in half precision, and adds to."""

from __future__ import annotations

from floatline.findings.graph import Graph, low
from floatline.findings.operations import kind
from floatline.records import Site

GATHERED_ERROR = 0.05
"""Relative error that a carried sum gathers over all turns; its last turn alone rounds it once."""


def carried_sum(view: Graph, site: Site) -> bool:
    """Whether a loop adds, to a value in half precision, what is below that value's last digit.

    A loop is a site that reads itself. The sum may be in float32, and cast at the end of each turn.
    """
    ends, numbers = low(site), site.statistics
    if ends is None or site.role != "value" or numbers.error < GATHERED_ERROR:
        return False
    total = next(iter(view.inputs(site)), site) if kind(site.place.operation) == "cast" else site
    if kind(total.place.operation) not in ("add", "subtract") or site.index not in total.inputs:
        return False
    added = (s.statistics.max_abs for s in view.inputs(total) if s is not site)
    return any(0 < largest < ends.epsilon * numbers.max_abs for largest in added)
