"""The literal that half precision rounds to 0 behind an operation that breaks."""

from __future__ import annotations

from floatline.findings.causes import NEAR_HOPS, flushed_constant
from floatline.findings.graph import graph
from floatline.findings.origins import Origin


def flushed_ancestor(origin: Origin) -> float | None:
    """The literal behind the break, as it was written; None where there is none."""
    near = graph(origin.trace).ancestors(origin.site, NEAR_HOPS)
    return next((site.constant for site in near if flushed_constant(site)), None)
