"""FL304: lost-small-update."""

from __future__ import annotations

from dataclasses import replace
from typing import final

from floatline.findings.averages import StillAverage, slow_averages, still_averages
from floatline.findings.case import Case
from floatline.findings.graph import graph, low
from floatline.findings.origin_rule import harm
from floatline.findings.rule import REFERENCE, CannotTell, Clear, Result, Rule
from floatline.findings.words import number, share, where
from floatline.formats import FORMATS
from floatline.records import Place, Site, Trace

LOST_SHARE = 0.5
"""Share of a variable's elements that the largest update cannot move: the variable stands still."""


@final
class LostSmallUpdate(Rule):
    """Weights in half precision do not move because the update is below their last digit.

    What it means:
        w + dw is w when dw is below half a unit in the last place of w: w * 4.9e-4 in float16.
        Small learning rates and slow moving averages then change nothing.

    Evidence:
        Variables in half precision whose largest update is below half a unit in the last place
        of most of their elements, in every traced step, and a loss that lags behind float32.
        Or a moving average in half precision that takes in less of each new value than half an
        epsilon of the format, and at the end lags behind. The loss need not show it: that of a
        target network that stands still is even lower. Or one that takes in up to eight times
        that, of which the loss is made, and a loss that lags behind float32.

    Why it matters:
        Weights or averages never move, without any error.

    Remedy:
        Keep variables in float32: that is what the mixed policies do.

    When it is harmless:
        When training has converged, or with stochastic rounding.

    References:
        - Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740, section 3.1.
        - N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, chapter 4.
    """

    id = "FL304"
    cause = "lost-small-update"
    phase = "update"
    remedies = (
        'Use "mixed_float16" instead of "float16": variables stay in float32.',
        "Keep moving averages in float32.",
    )

    def check(self, case: Case) -> Result:
        """Compares the updates of half-precision variables with their last digit."""
        state = case.outcome
        still = averages_lost(case)
        if still and not state.ends_broken and not state.float32_fails:
            return self._average(case, still)
        slow = averages_slow(case)
        looks_lost = updates_lost(case)
        if not (looks_lost or slow) or state.ends_broken or state.worse is False:
            return Clear()
        if state.worse is None:
            return CannotTell(REFERENCE)
        if not looks_lost:
            return self._average(case, slow)
        lost = _lost_updates(case.evidence.traces[-1])
        site, part = max(lost, key=lambda pair: pair[1])
        summary = (
            f"{share(part)} of '{site.variable}' cannot move: every update in"
            f" {where(site.place)} is below half a unit in the last place of {site.dtype}"
        )
        numbers = {"lost_share": part, "variables": len(lost), **harm(case)}
        return self.found(summary, numbers, place=site.place)

    def _average(self, case: Case, still: tuple[StillAverage, ...]) -> Result:
        worst = max(still, key=lambda average: average.lag)
        ends = FORMATS[worst.site.dtype]
        still_there = worst.share < ends.epsilon / 2
        size = "less than" if still_there else "hardly more than"
        fate = "stands still" if still_there else "stops short"
        summary = (
            f"'{worst.site.variable}' takes in {number(100 * worst.share)} % of each new value,"
            f" {size} the last digit of {worst.site.dtype}, and {fate} in"
            f" {where(worst.site.place)}: it lags behind by {share(worst.lag)} of its size"
        )
        numbers = {"new_share": worst.share, "lag": worst.lag, "variables": len(still)}
        return self.found(summary, {**numbers, **harm(case)}, place=worst.site.place)


def updates_lost(case: Case) -> bool:
    """Whether some variable stands still in every traced step."""
    lost = [_lost_updates(trace) for trace in case.evidence.traces]
    return bool(lost) and all(lost)


def averages_lost(case: Case) -> tuple[StillAverage, ...]:
    """The moving averages that stand still at the end; before, they may not lag behind yet."""
    agreed = [trace for trace in case.evidence.traces if trace.agrees is not False]
    return still_averages(agreed[-1]) if agreed else ()


def averages_slow(case: Case) -> tuple[StillAverage, ...]:
    """The moving averages that rounding holds back at the end, for the loss to decide on."""
    agreed = [trace for trace in case.evidence.traces if trace.agrees is not False]
    return slow_averages(agreed[-1]) if agreed else ()


def _lost_updates(trace: Trace) -> list[tuple[Site, float]]:
    view = graph(trace)
    weights = {s.variable: s for s in trace.sites if s.role == "parameter" and s.variable}
    pairs = []
    for site in trace.sites:
        weight = weights.get(site.variable) if site.variable else None
        if site.place.phase != "update" or site.role != "value" or weight is None or not low(site):
            continue
        changes = [s for s in view.inputs(site) if s.role == "value"]
        if changes and (part := _lost_share(weight, changes[-1])) >= LOST_SHARE:
            pairs.append((replace(site, place=_place(site, weight)), part))
    return pairs


def _place(site: Site, weight: Site) -> Place:
    """The update, in the layer whose weight it is."""
    layer, source = weight.place.layer, site.place.source or weight.place.source
    return replace(site.place, layer=layer, source=source, layer_class=weight.place.layer_class)


def _lost_share(weight: Site, change: Site) -> float:
    ends = low(weight)
    total = sum(weight.statistics.exponents.values())
    if ends is None or not total:
        return 0.0
    step = change.statistics.max_abs
    lost = (n for e, n in weight.statistics.exponents.items() if step < 2.0**e * ends.epsilon / 2)
    return sum(lost) / total
