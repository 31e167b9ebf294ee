"""FL304: lost-small-update."""

from __future__ import annotations

from typing import final

from floatline.findings.advice import OfKeras
from floatline.findings.averages import StillAverage, slow_averages, still_averages
from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.rule import REFERENCE, CannotTell, Clear, Result, Rule
from floatline.findings.still import begins_still, lost_updates, stands_still
from floatline.findings.words import number, share, where
from floatline.formats import FORMATS
from floatline.records import Severity


@final
class LostSmallUpdate(Rule):
    """Weights in half precision do not move because the update is below their last digit.

    What it means:
        w + dw is w when dw is below half a unit in the last place of w: w * 4.9e-4 in float16.
        Small learning rates and slow moving averages then change nothing.

    Evidence:
        Variables in half precision whose largest update is below half a unit in the last place
        of most of their elements, in every traced step, and a loss that lags behind float32;
        where most of all weights stand still so, a quarter of float32's progress is enough, and
        before the loss shows it, this is advice.
        Or a moving average in half precision that takes in less of each new value than half an
        epsilon of the format, and at the end lags behind; one of weights, too, that takes in more
        but loses most of it to rounding. The loss need not show it: that of a target network that
        stands still is even lower. Or one that takes in up to eight times that, of which the loss
        is made, and a loss that lags behind float32.
        Without a run, `floatline inspect` tells a learning rate below half a unit in the last place
        of a typical weight, of optimizers whose first updates are about as large.

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
        OfKeras(
            'Use "mixed_float16" or "mixed_bfloat16": variables stay in float32.',
            instead="Keep weights in float32, and compute with copies in half precision.",
            torch="Keep weights in float32, and let torch.autocast compute in half precision.",
        ),
        "Keep weights and moving averages in float32; cast copies of them.",
    )

    def check(self, case: Case) -> Result:
        """Compares the updates of half-precision variables with their last digit."""
        state = case.outcome
        still = averages_lost(case)
        if still and not state.ends_broken and not state.float32_fails:
            return self._average(case, still)
        slow, looks_lost = averages_slow(case), updates_lost(case) and not _vanish_before(case)
        if not (looks_lost or slow) or state.ends_broken:
            return Clear()
        if state.worse is None:
            return CannotTell(REFERENCE)
        if not state.worse and not (looks_lost and begins_still(case.evidence.traces)):
            return Clear()
        if not looks_lost:
            return self._average(case, slow)
        severity: Severity = "failure" if state.worse else "advice"
        lost = lost_updates(case.evidence.traces[-1])
        site, part = max(lost, key=lambda pair: pair[1])
        summary = (
            f"{share(part)} of '{site.variable}' cannot move: every update in"
            f" {where(site.place)} is below half a unit in the last place of {site.dtype}"
        )
        numbers = {"lost_share": part, "variables": len(lost), **harm(case)}
        return self.found(summary, numbers, place=site.place, severity=severity)

    def asks_float32(self, case: Case) -> bool:
        """Where weights or averages do not move, the loss has to say whether that matters."""
        return updates_lost(case) or bool(averages_lost(case) or averages_slow(case))

    def _average(self, case: Case, still: tuple[StillAverage, ...]) -> Result:
        worst = max(still, key=lambda average: average.lag)
        ends = FORMATS[worst.site.dtype]
        fate = "stands still" if worst.share < ends.epsilon / 2 else "stops short"
        summary = (
            f"'{worst.site.variable}' takes in {number(100 * worst.share)} % of each new value,"
            f" which the last digit of {worst.site.dtype} rounds away, and {fate} in"
            f" {where(worst.site.place)}: it lags behind by {share(worst.lag)} of its size"
        )
        numbers = {"new_share": worst.share, "lag": worst.lag, "variables": len(still)}
        return self.found(summary, {**numbers, **harm(case)}, place=worst.site.place)


def updates_lost(case: Case) -> bool:
    """Whether some variable stands still in every traced step, or most of the weights do."""
    lost = [lost_updates(trace) for trace in case.evidence.traces]
    return (bool(lost) and all(lost)) or stands_still(case.evidence.traces)


def _vanish_before(case: Case) -> bool:
    """Whether updates are 0 before they are added: then that is the cause."""
    return any(o.rule == "FL305" and o.site.place.phase == "update" for o in case.silent)


def averages_lost(case: Case) -> tuple[StillAverage, ...]:
    """The moving averages that stand still at the end; before, they may not lag behind yet."""
    agreed = [trace for trace in case.evidence.traces if trace.agrees is not False]
    return still_averages(agreed[-1]) if agreed else ()


def averages_slow(case: Case) -> tuple[StillAverage, ...]:
    """The moving averages that rounding holds back at the end, for the loss to decide on."""
    agreed = [trace for trace in case.evidence.traces if trace.agrees is not False]
    return slow_averages(agreed[-1]) if agreed else ()
