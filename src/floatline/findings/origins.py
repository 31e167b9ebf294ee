"""Where a fault arises in a trace, whether it matters there, and what only passes it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from floatline.findings.causes import NEAR_HOPS, cause_of, infinite_reciprocal
from floatline.findings.graph import Graph, graph, literal, low
from floatline.findings.identifiers import narrowing, picked_by
from floatline.findings.operations import kind
from floatline.findings.swallowed import bridges
from floatline.formats import FORMATS
from floatline.records import Site, Trace

ORDINARY_MAX = FORMATS["float16"].max_finite
"""Largest input for which an expression is to blame for a non-finite result; beyond it, float32
diverged before."""

AMPLIFIED_ERROR = 0.1
"""Relative error after an operation that counts as lost digits: one digit left is the last."""

AMPLIFIED_EPSILONS = 32
"""... and in units of the format's epsilon, which is decisive for bfloat16."""

AMPLIFICATION = 8
"""Error of a difference over that of its terms from which it is the difference that lost it."""

CLEAN_EPSILONS = 8
"""Relative error of inputs, in epsilons, that ordinary rounding of a few operations explains."""

NEEDS_DIGITS = ("add", "subtract", "trigonometric")
"""Kinds of operations whose result may hang on digits that their terms have lost."""

Reach = Literal["confirmed", "unconfirmed", "none"]


@dataclass(frozen=True, slots=True)
class Origin:
    """A site at which a fault arises.

    Attributes:
        rule: Id of the rule the fault belongs to.
        trace: The traced step.
        site: Where it arises.
        spot: The operation to name: the site, or what reads it when it is a literal in passing.
        reach: Whether its non-finite values reach the loss or a gradient; "unconfirmed" when
            those are non-finite but an operation on the way was not traced.
        propagation: Sites that only pass the fault on.
        others: Further sites with the same fault in the same step.
    """

    rule: str
    trace: Trace
    site: Site
    spot: Site
    reach: Reach = "confirmed"
    propagation: int = 0
    others: int = 0

    @property
    def forward(self) -> bool:
        """Whether the fault arises before the backward pass, at every loss scale."""
        return self.site.place.phase == "forward" and self.rule != "FL110"


def overflows(trace: Trace) -> tuple[Origin, ...]:
    """Origins of non-finite values that float32 would not have, in execution order.

    An origin that another one leads to is folded into it. When a forward origin exists, what
    arises in the backward pass is its consequence and is left out.
    """
    view = graph(trace)
    starts = [site for site in trace.sites if _starts(view, site)]
    hidden = bridges(view, starts)

    def spoilt(site: Site) -> bool:
        return view.harmed(site) or site.index in hidden

    reaching = view.leading_to(view.ends | view.written, through=spoilt)
    origins, covered = [], set[int]()
    for site in starts:
        if site.index in covered:
            continue
        rule = cause_of(view, site)
        if rule == "FL110" and site.place.phase == "update":
            continue  # No gradient overflows there.
        blamed, shown = _named(view, site, rule)
        if site.index not in reaching:
            origins.append(Origin(rule, trace, blamed, shown, "none"))
            continue
        passed = {s.index for s in view.descendants(site, through=spoilt)}
        origins.append(Origin(rule, trace, blamed, shown, "confirmed", len(passed)))
        covered |= passed
    return _relevant(view, origins)


def _named(view: Graph, site: Site, rule: str) -> tuple[Site, Site]:
    """Where the fault of a rule arises that breaks `site`, and the operation to show for it."""
    if rule == "FL303":
        blamed = picked_by(view, site) or site
        return blamed, narrowing(view, blamed)
    return site, cancels(view, site) if rule == "FL301" else spot(view, site)


def spot(view: Graph, site: Site) -> Site:
    """The operation to show for a site: for a literal, cast or not, the one that reads it.

    A literal that the same layer writes in a line of its own is shown there: that line is wrong.
    """
    if not literal(site) or not view.readers[site.index]:
        return site
    reader = view.trace.sites[view.readers[site.index][0]]
    own, other = site.place, reader.place
    apart = own.source is not None and own.source != other.source and own.layer == other.layer
    return site if apart and site.role == "constant" else reader


def cancels(view: Graph, site: Site) -> Site:
    """The operation that lost the digits on which `site` breaks: itself when none is seen to.

    What computes in float32 loses none: then it is the nearest one behind it that does not.
    """
    near = (s for s in view.ancestors(site, NEAR_HOPS) if low(s) and s.role == "value")
    found = next((s for s in near if loses_digits(view, s)), None)
    if found is not None or low(site):
        return found or site
    behind = (s for s in view.ancestors(site, None) if low(s) and s.role == "value")
    return next((s for s in behind if s.statistics.error > 0), site)


def loses_digits(view: Graph, site: Site) -> bool:
    """Whether an operation has inputs as exact as half precision, and a decisively wrong result.

    It computes in half precision itself, or it is a sum, a difference or a sine, in whatever
    precision, of what was rounded to half precision before: a float32 output layer does not bring
    digits back, nor does a cast of a rounded angle.
    """
    ends, inputs = low(site), [s.statistics for s in view.inputs(site)]
    behind = None if ends else rounding_behind(view, site)
    ends = ends or (low(behind) if behind else None)
    if ends is None or not inputs:
        return False
    # What a sine in float32 makes of a rounded angle is no residual, and no rounding of its own.
    folds = behind is not None and kind(site.place.operation) == "trigonometric"
    enough = 0.0 if folds else AMPLIFIED_EPSILONS * ends.epsilon
    if site.statistics.error < max(AMPLIFIED_ERROR, enough):
        return False
    if any(n.nonfinite or n.saturated + n.poisoned for n in inputs):
        return False  # Not digits are lost here, but an overflow is passed on.
    return max(n.error for n in inputs) <= CLEAN_EPSILONS * ends.epsilon


def rounding_behind(view: Graph, site: Site) -> Site | None:
    """The nearest half-precision value behind an operation in another precision that needs digits.

    None where it needs no more than it is given, or nothing it is given was rounded.
    """
    if kind(site.place.operation) not in NEEDS_DIGITS or site.role != "value":
        return None
    if not any(s.statistics.error for s in view.inputs(site)):
        return None
    return next((s for s in view.ancestors(site, None) if low(s)), None)


def compiled_reciprocals(trace: Trace) -> tuple[Origin, ...]:
    """The first division that is finite as it stands and not as compilers write it."""
    view = graph(trace)
    leading = (trace.sites[index] for index in sorted(view.leading_to(view.ends)))
    forward = (s for s in leading if s.place.phase == "forward" and infinite_reciprocal(view, s))
    first = next(forward, None)
    return () if first is None else (Origin("FL101", trace, first, first, "unconfirmed"),)


def blurs_exponent(view: Graph, site: Site) -> bool:
    """Whether a difference in an exponent has far fewer digits than its terms.

    What is wrong with it in absolute terms is wrong with the exponential in relative terms, so this
    is no residual of a good fit, in whichever step and pass. The gradient of a sum of exponentials
    holds such differences: long chains of them add up terms of which half precision keeps too few
    digits, although it keeps their sum.
    """
    ends, inputs = low(site), [s.statistics.error for s in view.inputs(site)]
    if ends is None or not inputs or kind(site.place.operation) != "subtract":
        return False
    if not any(_is_exponential(view.trace.sites[i]) for i in view.readers[site.index]):
        return False
    error = site.statistics.error
    decisive = error >= max(AMPLIFIED_ERROR, AMPLIFIED_EPSILONS * ends.epsilon)
    return decisive and error >= AMPLIFICATION * max(inputs) > 0


def _is_exponential(site: Site) -> bool:
    return kind(site.place.operation) == "exponential"


def float32_breakdowns(trace: Trace) -> tuple[Origin, ...]:
    """Operations that are non-finite in float32 too although their inputs are finite."""
    view = graph(trace)
    return tuple(_float32_breakdowns(view))


def _starts(view: Graph, site: Site) -> bool:
    numbers = site.statistics
    if site.role == "constant":
        return numbers.saturated > 0
    if site.role != "value":
        return False
    if numbers.local_saturated and low(site):
        return True
    clean = all(s.statistics.nonfinite == 0 for s in view.inputs(site))
    return clean and numbers.local_nonfinite > 0 and view.harmed(site)


def _relevant(view: Graph, origins: list[Origin]) -> tuple[Origin, ...]:
    confirmed = [origin for origin in origins if origin.reach == "confirmed"]
    if not confirmed and origins and any(view.harmed(view.trace.sites[i]) for i in view.ends):
        first = origins[0]
        confirmed = [Origin(first.rule, first.trace, first.site, first.spot, "unconfirmed", 0)]
    forward = [origin for origin in confirmed if origin.forward]
    influential, misleading = view.influential(), view.misleading()
    silent = [o for o in origins if o.reach == "none"]
    quiet = [
        origin
        for origin in silent
        if origin.site.index in (influential if origin.forward else misleading)
    ]
    return tuple(_one_per_rule(forward or confirmed)) + tuple(_one_per_rule(quiet))


def _one_per_rule(origins: list[Origin]) -> Iterator[Origin]:
    for rule in dict.fromkeys(origin.rule for origin in origins):
        mine = [origin for origin in origins if origin.rule == rule]
        first = mine[0]
        yield Origin(
            rule,
            first.trace,
            first.site,
            first.spot,
            first.reach,
            sum(origin.propagation for origin in mine),
            len(mine) - 1,
        )


def _ordinary(view: Graph, site: Site) -> bool:
    """Whether the inputs are of a size that trainings that do not diverge have."""
    return all(s.statistics.max_abs <= ORDINARY_MAX for s in view.inputs(site))


def _float32_breakdowns(view: Graph) -> Iterator[Origin]:
    def broken(site: Site) -> bool:
        return site.statistics.shadow_nonfinite > 0

    for site in view.trace.sites:
        clean = not any(broken(s) for s in view.inputs(site))
        if site.role != "value" or not broken(site) or not clean:
            continue
        if site.index in view.inherited:
            continue
        if site.statistics.local_nonfinite == 0 or not _ordinary(view, site):
            continue
        passed = {s.index for s in view.descendants(site, through=broken)}
        if (passed | {site.index}) & view.ends:
            yield Origin("FL604", view.trace, site, site, "confirmed", len(passed))
