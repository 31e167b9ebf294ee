"""The rules that name an origin in a traced step share one decision: does it harm training?"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, final

from floatline.findings.case import Case
from floatline.findings.causes import format_of
from floatline.findings.gradients import all_lost
from floatline.findings.graph import inherits, low
from floatline.findings.origins import Origin
from floatline.findings.rule import REFERENCE, TRACES, CannotTell, Clear, Result, Rule
from floatline.findings.words import number, share, where
from floatline.records import Number, Phase

MORE_STEPS = "more steps: the search for a loss scale had not ended"
DISPUTED = (
    "a traced step that behaves like the compiled one; the overflow is seen only outside the"
    " compiled step, so compiler or kernel decide"
)
FLOAT32_FIRST = "a training that works in float32; float32 fails in the same way"


class OriginRule(Rule):
    """A rule whose evidence is an origin; a subclass only says what happens there.

    Attributes:
        shows_in_loss: Whether a fault that leaves everything finite does no harm while the loss
            keeps pace with float32's.

    """

    phase: ClassVar[Phase] = "forward"
    shows_in_loss: ClassVar[bool] = True

    @abstractmethod
    def sentence(self, origin: Origin) -> str:
        """What happens at the origin, with the place and the decisive number."""

    def advice(self, origin: Origin) -> tuple[str, ...]:  # noqa: ARG002 (subclasses read it)
        """What to do about the origin."""
        return self.remedies

    @final
    def check(self, case: Case) -> Result:
        """Found when the origin lies on the way to the harm that training shows."""
        if case.untraced:
            return CannotTell(TRACES)
        loud = next((o for o in case.loud if o.rule == self.id), None)
        silent = next((o for o in case.silent if o.rule == self.id), None)
        if loud and (result := self._loud(case, loud)):
            return result
        if silent and (result := self._silent(case, silent)):
            return result
        if case.outcome.broken and any(o.rule == self.id for o in case.disputed):
            return CannotTell(DISPUTED)
        return Clear()

    def _loud(self, case: Case, origin: Origin) -> Result | None:
        state = case.outcome
        if state.float32_fails:
            return CannotTell(FLOAT32_FIRST)
        if state.broken or (state.worse and origin.forward):
            return self._finding(case, origin)
        return CannotTell(MORE_STEPS) if state.searching else None

    def _silent(self, case: Case, origin: Origin) -> Result | None:
        state = case.outcome
        if state.ends_broken or state.float32_fails:
            return None
        # What arose before the first step is in the float32 steps, too.
        if not self.shows_in_loss or inherits(origin.trace, origin.site):
            return self._finding(case, origin)
        if state.worse is False:
            return None
        # Where nothing is left to learn from, few steps tell as much as many.
        if state.worse is None and not all_lost(case.gradients):
            return CannotTell(REFERENCE)
        return self._finding(case, origin)

    def _finding(self, case: Case, origin: Origin) -> Result:
        return self.found(
            self.sentence(origin),
            {**numbers(origin), **harm(case)},
            place=origin.spot.place,
            propagation=origin.propagation,
            remedies=self.advice(origin),
        )


def numbers(origin: Origin) -> dict[str, Number]:
    """The decisive numbers of an origin."""
    statistics = origin.site.statistics
    counts = {
        "saturated_elements": statistics.saturated,
        "flushed_elements": statistics.flushed,
        "inf_elements": 0 if statistics.saturated else statistics.inf,
        "nan_elements": statistics.nan,
        "mismatched_elements": statistics.mismatched,
    }
    result: dict[str, Number] = {
        "step": origin.trace.step,
        "elements": statistics.count,
        **{name: count for name, count in counts.items() if count},
        "shadow_max_abs": statistics.max_abs,
        "format_max": format_of(origin.site if low(origin.site) else origin.spot).max_finite,
        "relative_error": statistics.error,
    }
    if origin.trace.loss_scale is not None:
        result["loss_scale"] = origin.trace.loss_scale
    if origin.site.constant is not None:
        result["constant"] = origin.site.constant
    if origin.others:
        result["further_places"] = origin.others
    if origin.reach == "unconfirmed":
        result["path_confirmed"] = False
    return result


def harm(case: Case) -> dict[str, Number]:
    """What training suffered, in numbers."""
    state = case.outcome
    result: dict[str, Number] = {"steps": state.steps}
    if state.skipped:
        result["skipped_steps"] = state.skipped
    if state.nonfinite_losses:
        result["nonfinite_loss_steps"] = state.nonfinite_losses
    if state.comparison:
        result["loss"] = state.comparison.own
        result["float32_loss"] = state.comparison.reference
    return result


def overflow(origin: Origin) -> str:
    """The sentence for a plain overflow: how many elements, how large, and the format's end.

    Example:

    >>> from floatline.records import Place, Site, Statistics, Trace
    >>> numbers = Statistics(8, inf=2, saturated=2, local_saturated=2, max_abs=98304.0)
    >>> place = Place("div", "Mul", "div/mul", "backward")
    >>> site = Site(0, place, "value", "float16", (8,), (), numbers)
    >>> overflow(Origin("FL110", Trace(0, "first", (site,)), site, site))
    "2 of 8 elements of the backward Mul in layer 'div' overflow: float32 reaches 9.83e+04, \
float16 ends at 65504"

    A mean may fit where the sum that it is made of does not:

    >>> numbers = Statistics(8, inf=2, saturated=2, local_saturated=2, max_abs=120.0)
    >>> place = Place(None, "Mean", "mean", "forward")
    >>> site = Site(0, place, "value", "float16", (8,), (), numbers)
    >>> overflow(Origin("FL102", Trace(0, "first", (site,)), site, site))
    "2 of 8 elements of Mean in the loss or optimizer overflow, although float32 reaches \
only 120 there: a value on the way passes float16's end at 65504"
    """
    site, statistics = origin.site, origin.site.statistics
    ends = format_of(site)
    if inherits(origin.trace, site):
        return (
            f"{where(origin.spot.place)} reads a constant that became infinite in {ends.name}"
            f" before training began: {statistics.nonfinite} of {statistics.count} elements are"
            " not finite"
        )
    count = statistics.local_saturated or statistics.saturated or statistics.poisoned
    verb = "overflows" if count == 1 else "overflow"
    subject = f"{count} of {statistics.count} elements of {where(origin.spot.place)} {verb}"
    if statistics.max_abs <= ends.max_finite:
        return (
            f"{subject}, although float32 reaches only {number(statistics.max_abs)} there: a value"
            f" on the way passes {ends.name}'s end at {number_of_end(ends.max_finite)}"
        )
    return (
        f"{subject}: float32 reaches {number(statistics.max_abs)}, {ends.name} ends at"
        f" {number_of_end(ends.max_finite)}"
    )


def fault(origin: Origin, what: str) -> str:
    """The sentence for what overflows, breaks or vanishes.

    Args:
        origin: Where.
        what: What its values are.
    """
    statistics, place = origin.site.statistics, where(origin.spot.place)
    if statistics.local_saturated:
        return f"{overflow(origin)} ({what})"
    if origin.reach != "none":
        broken = f"{statistics.nonfinite} of {statistics.count} elements are not finite"
        return f"{place} breaks on {what}: {broken}"
    return f"{place} flushes {share(statistics.flushed_share)} of the nonzero values of {what} to 0"


def number_of_end(value: float) -> str:
    """The end of a format: in full when it is short.

    Example:

    >>> number_of_end(65504.0), number_of_end(3.39e38)
    ('65504', '3.39e+38')
    """
    return f"{value:.0f}" if value < 1e6 else number(value)
