"""Faults that leave every value finite: wrong digits, rounded ids, values flushed to zero."""

from __future__ import annotations

from floatline.findings.causes import normalizes, specific
from floatline.findings.graph import (
    DECISIVE_ERROR,
    Graph,
    decisively_wrong,
    graph,
    inherits,
    low,
)
from floatline.findings.identifiers import narrowing, rounded_integers
from floatline.findings.loops import carried_sum
from floatline.findings.operations import kind
from floatline.findings.origins import Origin, blurs_exponent, loses_digits, rounding_behind
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


def silent_origins(trace: Trace, *, first: bool, bounds_differ: bool = False) -> tuple[Origin, ...]:
    """Origins of silent faults that reach the loss or a gradient decisively.

    Args:
        trace: The traced step.
        first: Whether this is the first step, the only one in which lost digits are looked for:
            later, the residual of a good fit cancels as it should. A difference in an exponent is
            none, and is looked for in every step.
        bounds_differ: Whether float32 does better only where the step is built anew. A bound that
            follows the dtype, such as `finfo(dtype).tiny`, is the low format's in the shadow, too,
            and hides there what was flushed to 0 before it.
    """
    view = graph(trace)
    influential = view.influential()
    hidden = _hidden_by_bounds(view) if bounds_differ else frozenset()
    best: dict[str, Origin] = {}
    for site in trace.sites:
        rule = _rule_of(view, site, first, hidden)
        if rule is None:
            continue
        if rule in best:
            best[rule] = _with_other(best[rule])
        elif site.index in influential | hidden | view.inherited or rule == "FL305":
            named = _named(view, site, rule)
            best[rule] = Origin(rule, trace, site, named, "none", _passed(view, site))
    return tuple(best.values())


def _named(view: Graph, site: Site, rule: str) -> Site:
    """The operation to show: where ids, or the angle of a sine in float32, were rounded."""
    if rule == "FL303":
        return narrowing(view, site)
    folds = rule == "FL301" and low(site) is None and kind(site.place.operation) == "trigonometric"
    return (rounding_behind(view, site) or site) if folds else site


def _rule_of(view: Graph, site: Site, first: bool, hidden: frozenset[int]) -> str | None:
    """The rule that a site belongs to by what it computes, whether it matters or not."""
    if first and _rounds_to_one(view, site):
        return "FL305"
    rule = _forward_rule(view, site, first) if site.place.phase == "forward" else None
    if rule is None and site.index in hidden and _flushes(site):
        return "FL204"
    if rule is None and site.place.phase != "update" and blurs_exponent(view, site):
        return "FL301"
    if rule is None and site.index in view.second and _vanishes(site):
        return "FL112"
    return rule


def _forward_rule(view: Graph, site: Site, first: bool) -> str | None:
    if rounded_integers(view, site):
        return "FL303"
    if site.index in view.inherited and inherits(view.trace, site):
        return "FL106" if normalizes(view, site) else None
    ends = low(site)
    if site.role != "value":
        return None
    if ends is None:
        return "FL301" if first and loses_digits(view, site) else None
    what, numbers = kind(site.place.operation), site.statistics
    if what == "softmax":
        vanishes = _flushed_here(site) >= SOFTMAX_FLUSHED_SHARE and _feeds_log(view, site)
        return "FL205" if vanishes else None
    if _vanishes(site):
        return specific(view, site, "FL204")
    if carried_sum(view, site):
        return "FL302"
    if what == "reduction" and numbers.local_error >= max(REDUCTION_ERROR, 8 * ends.epsilon):
        return "FL302"
    if first and loses_digits(view, site):
        return "FL105" if _offset_input(view, site) else "FL301"
    return None


def _flushed_here(site: Site) -> float:
    """Share of what float32 has nonzero that the operation itself flushes."""
    numbers = site.statistics
    return numbers.local_flushed / numbers.shadow_nonzero if numbers.shadow_nonzero else 0.0


def _flushes(site: Site) -> bool:
    return low(site) is not None and site.role == "value" and _flushed_here(site) >= FLUSHED_SHARE


def _vanishes(site: Site) -> bool:
    return _flushes(site) and site.statistics.error >= DECISIVE_ERROR


def _hidden_by_bounds(view: Graph) -> frozenset[int]:
    """Forward sites whose zeros a bound replaces, in the shadow as well."""

    def forward(site: Site) -> bool:
        return site.place.phase == "forward"

    bounds = (s for s in view.trace.sites if forward(s) and kind(s.place.operation) == "bound")
    swallowed = (
        source.index
        for bound in bounds
        if not decisively_wrong(bound) and not bound.statistics.flushed
        for source in view.inputs(bound)
        if source.statistics.flushed_share >= FLUSHED_SHARE
    )
    return view.leading_to(swallowed, through=forward)


def _rounds_to_one(view: Graph, site: Site) -> bool:
    """Whether an update is multiplied by a 1 - p that is 0, p being as exact as the format allows.

    So does a bias correction of Adam's where `beta_2` is 1 in bfloat16.
    """
    ends, numbers = low(site), site.statistics
    if ends is None or site.place.phase != "update" or kind(site.place.operation) != "subtract":
        return False
    exact = all(s.statistics.error <= ends.epsilon for s in view.inputs(site))
    return exact and numbers.flushed == numbers.count == 1


def _offset_input(view: Graph, site: Site) -> bool:
    """Whether a batch tensor loses its digits against a weight or literal: a Normalization."""
    if kind(site.place.operation) not in ("subtract", "add"):
        return False
    if any(site.statistics.count < s.statistics.count for s in view.inputs(site)):
        return False  # Parts of one tensor are subtracted from each other.
    roots = [view.uncast(s).role for s in view.inputs(site)]
    return roots.count("input") == 1 and all(r in ("input", "parameter", "constant") for r in roots)


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
