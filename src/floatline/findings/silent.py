"""Faults that leave every value finite: wrong digits, rounded ids, values flushed to zero."""

from __future__ import annotations

from floatline.findings.causes import normalizes
from floatline.findings.graph import (
    DECISIVE_ERROR,
    Graph,
    decisively_wrong,
    graph,
    inherits,
    low,
)
from floatline.findings.identifiers import narrowing, rounded_integers
from floatline.findings.operations import kind
from floatline.findings.origins import Origin, blurs_exponent, loses_digits
from floatline.formats import FORMATS
from floatline.records import Site, Trace

REDUCTION_ERROR = 0.05
"""Relative error that a reduction adds itself; an exact accumulator stays below one epsilon."""

FLUSHED_SHARE = 0.5
"""Share of an operation's nonzero results that it flushes itself, from which half are gone."""

SOFTMAX_FLUSHED_SHARE = 0.01
"""Share of flushed probabilities at which whole classes lose their gradient."""

LOG_HOPS = 4
"""Operations between a softmax and the logarithm of a loss."""


def silent_origins(trace: Trace, *, first: bool) -> tuple[Origin, ...]:
    """Origins of silent faults that reach the loss or a gradient decisively.

    Args:
        trace: The traced step.
        first: Whether this is the first step, the only one in which lost digits are looked for:
            later, the residual of a good fit cancels as it should. A difference in an exponent is
            none, and is looked for in every step.
    """
    view = graph(trace)
    influential = view.influential()
    best: dict[str, Origin] = {}
    for site in trace.sites:
        rule = _rule_of(view, site, first) if site.place.phase == "forward" else None
        if rule is None and site.place.phase != "update" and blurs_exponent(view, site):
            rule = "FL301"
        if rule is None:
            continue
        if rule in best:
            best[rule] = _with_other(best[rule])
        elif site.index in influential or site.index in view.inherited:
            named = narrowing(view, site) if rule == "FL303" else site
            best[rule] = Origin(rule, trace, site, named, "none", _passed(view, site))
    return tuple(best.values())


def _rule_of(view: Graph, site: Site, first: bool) -> str | None:
    if rounded_integers(view, site):
        return "FL303"
    if site.index in view.inherited and inherits(view.trace, site):
        return "FL106" if normalizes(view, site) else None
    ends = low(site)
    if ends is None or site.role != "value":
        return None
    what, numbers = kind(site.place.operation), site.statistics
    flushed = numbers.local_flushed / numbers.shadow_nonzero if numbers.shadow_nonzero else 0.0
    if what == "softmax":
        vanishes = flushed >= SOFTMAX_FLUSHED_SHARE and _feeds_log(view, site)
        return "FL205" if vanishes else None
    if flushed >= FLUSHED_SHARE and numbers.error >= DECISIVE_ERROR:
        return "FL204"
    if what == "reduction" and numbers.local_error >= max(REDUCTION_ERROR, 8 * ends.epsilon):
        return "FL302"
    if first and loses_digits(view, site):
        return "FL105" if _offset_input(view, site) else "FL301"
    return None


def _offset_input(view: Graph, site: Site) -> bool:
    """Whether a batch tensor loses its digits against a weight or literal: a Normalization."""
    if kind(site.place.operation) not in ("subtract", "add"):
        return False
    if any(site.statistics.count < s.statistics.count for s in view.inputs(site)):
        return False  # Parts of one tensor are subtracted from each other.
    roots = [_root(view, s).role for s in view.inputs(site)]
    return roots.count("input") == 1 and all(r in ("input", "parameter", "constant") for r in roots)


def _root(view: Graph, site: Site) -> Site:
    while kind(site.place.operation) == "cast" and site.inputs and site.role == "value":
        site = view.inputs(site)[0]
    return site


def _feeds_log(view: Graph, site: Site) -> bool:
    ahead = view.descendants(site, LOG_HOPS, lambda s: s.place.phase == "forward")
    return any(kind(s.place.operation) in ("log", "softmax") for s in ahead)


def _passed(view: Graph, site: Site) -> int:
    ahead = view.descendants(site)
    return sum(decisively_wrong(s) for s in ahead if s.dtype in FORMATS)


def _with_other(origin: Origin) -> Origin:
    return Origin(
        origin.rule,
        origin.trace,
        origin.site,
        origin.spot,
        origin.reach,
        origin.propagation,
        origin.others + 1,
    )
