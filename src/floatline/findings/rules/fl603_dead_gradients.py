"""FL603: dead-gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import final

from floatline.findings.case import Case
from floatline.findings.origin_rule import harm
from floatline.findings.rule import REFERENCE, CannotTell, Clear, Result, Rule
from floatline.findings.words import share, where
from floatline.records import Number, Site, Trace

DEAD_SHARE = 0.9
"""Share of the weights in variables without any gradient: training stands still. Weights count,
not variables: the last bias of a dead network still learns how often each answer is right."""

SOLVED_LOSS = 1e-6
"""Loss below which zero gradients mean that there is nothing left to learn."""

PROGRESS = 0.01
"""Relative fall of the loss that shows that training moves after all."""

END_STEPS = 5
"""Fewest steps at either end whose median loss is compared: a single one follows its batch."""

END_SHARE = 5
"""One over the share of the training at either end that is compared, where that is more steps."""

NOISE_BANDS = 3.0
"""Standard errors of the two medians that a fall must exceed: batches differ, too."""

LEAST_STEPS = 3 * END_STEPS
"""Fewest losses that show a standstill: those of the first updates, and two ends to compare."""

TOO_FEW_STEPS = "more steps, for an activation has died and the loss may stand still (--seconds)"


@final
class DeadGradients(Rule):
    """Nearly all gradients are exactly zero in float32 too.

    What it means:
        Dead activations, a loss that does not depend on the weights, or weights that start at
        zero on both sides of a product. No precision helps.

    Evidence:
        Nine in ten weights belong to variables whose gradient is exactly zero in float32, in the
        first and in the last traced step, while the loss is neither near zero nor falling; or in
        the last one only, where the loss is back at that of the first step, or stands still behind
        an activation that has died since, in a float32 training of the same steps as well; and a
        step that is built anew for float32 does no better. And the first operation that turns
        values into nothing but zeros. Undecided where an activation has died and fewer than
        fifteen losses were seen.

    Why it matters:
        The model does not learn.

    Remedy:
        Look for dead activations, a wrong initialisation and a loss cut off from the weights. A
        network that dies on the way was thrown off by its first updates: lower the learning rate.

    When it is harmless:
        When there is nothing left to learn: a hinge loss at zero.

    References:
        - L. Lu et al., Dying ReLU and Initialization, 2019, arXiv:1903.06733.
    """

    id = "FL603"
    cause = "dead-gradients"
    phase = "backward"
    remedies = (
        "Look for dead activations and a wrong initialisation: inspect the layers' outputs.",
        "Check that the loss depends on the weights: no stop_gradient, argmax or rounding between.",
    )
    remedy_on_the_way = "Lower the learning rate, or warm it up: an update killed the network."

    def check(self, case: Case) -> Result:
        """Looks at the float32 gradients of the first and the last traced step."""
        dead, on_the_way = dead_share(case), died(case)
        if case.outcome.worse:
            return Clear()  # Float32 may choose other constants, and learn.
        if not (dead or on_the_way):
            return CannotTell(TOO_FEW_STEPS) if _may_have_died(case) else Clear()
        if on_the_way and case.outcome.worse is None:
            return CannotTell(REFERENCE)
        traces = _differentiated(case)
        dead = dead or _dead_share(traces[-1])
        advice = (self.remedy_on_the_way, *self.remedies) if on_the_way else self.remedies
        count = sum(_weights(traces[-1]))
        summary = f"{share(dead)} of {count} weights have a gradient of zero in float32 too"
        numbers: dict[str, Number] = {"dead_share": dead, "weights": count, **harm(case)}
        silenced = _silenced(traces[-1])
        if silenced is None:
            return self.found(summary, numbers, remedies=advice)
        summary += f"; all {silenced.statistics.count} outputs of {where(silenced.place)} are 0"
        return self.found(summary, numbers, place=silenced.place, remedies=advice)

    def asks_float32(self, case: Case) -> bool:
        """Where gradients are zero, float32 may choose other constants, and learn."""
        return died(case) or (case.computes_low and dead_share(case) > 0)


def died(case: Case) -> bool:
    """Whether a network had gradients, has none at the end, and learned nothing in between.

    One that started far off may end below its first loss: then what died shows that it is dead.
    """
    losses = _losses(case)
    if not _lost_gradients(case):
        return False
    return _is_back(losses) or (_went_silent(case) and _stands_still(losses))


def _may_have_died(case: Case) -> bool:
    """Whether an activation died on the way, and too few losses were seen since to say more."""
    losses = _losses(case)
    if not (_lost_gradients(case) and _went_silent(case)):
        return False
    return len(losses) < LEAST_STEPS and abs(losses[-1]) > SOLVED_LOSS


def _lost_gradients(case: Case) -> bool:
    """Whether there were gradients at first, and are none at the end."""
    traces = _differentiated(case)
    if not traces or not _losses(case) or case.outcome.broken:
        return False
    return _dead_share(traces[0]) < DEAD_SHARE <= _dead_share(traces[-1])


def _went_silent(case: Case) -> bool:
    traces = _differentiated(case)
    return _silenced(traces[-1]) is not None and _silenced(traces[0]) is None


def _differentiated(case: Case) -> list[Trace]:
    return [trace for trace in case.evidence.traces if trace.gradients]


def dead_share(case: Case) -> float:
    """Share of the weights without a gradient, in a training that stands still for that; else 0."""
    traces = _differentiated(case)
    if not traces or traces[0].step == traces[-1].step:
        return 0.0
    dead = min(_dead_share(traces[0]), _dead_share(traces[-1]))
    return dead if dead >= DEAD_SHARE and _stalls(_losses(case)) else 0.0


def _dead_share(trace: Trace) -> float:
    numbers = [trace.sites[gradient.site].statistics for gradient in trace.gradients]
    dead = sum(n.count for n in numbers if n.shadow_zero == n.count)
    return dead / max(1, sum(_weights(trace)))


def _weights(trace: Trace) -> list[int]:
    return [trace.sites[gradient.site].statistics.count for gradient in trace.gradients]


def _silenced(trace: Trace) -> Site | None:
    """The first operation that turns values into nothing but zeros: a dead activation."""
    for site in trace.sites:
        numbers = site.statistics
        zero = numbers.count > 1 and numbers.shadow_zero == numbers.count
        if site.role != "value" or site.place.phase != "forward" or not zero or not site.inputs:
            continue
        if all(trace.sites[index].statistics.shadow_nonzero for index in site.inputs):
            return site
    return None


def _losses(case: Case) -> list[float]:
    steps = case.evidence.history.steps
    return [s.loss for s in steps if s.loss is not None and math.isfinite(s.loss)]


def _stalls(losses: list[float]) -> bool:
    if not losses:
        return False
    steps_each = max(END_STEPS, len(losses) // END_SHARE)
    return _no_lower(median(losses[:steps_each]), losses, steps_each)


def _stands_still(losses: list[float]) -> bool:
    """Whether the loss is no lower at the end than soon after the first updates."""
    later = losses[END_STEPS:]
    return len(losses) >= LEAST_STEPS and _stalls(later)


def _is_back(losses: list[float]) -> bool:
    """Whether the loss ends where it was before the first update."""
    return _no_lower(losses[0], losses, END_STEPS)


def _no_lower(first: float, losses: list[float], steps_each: int) -> bool:
    last = median(losses[-steps_each:])
    noise = NOISE_BANDS * batch_noise(losses) * math.sqrt(2 / steps_each)
    return abs(last) > SOLVED_LOSS and last >= first - max(PROGRESS * abs(first), noise)


def batch_noise(losses: Sequence[float]) -> float:
    """The standard deviation of losses from step to step, whatever their trend.

    It is the median magnitude of second differences, which a straight line does not have, over
    what that is for independent normal numbers of deviation 1: 0.6745 * sqrt(6).

    Example:

    >>> batch_noise([5.0, 4.0, 3.0, 2.0])
    0.0
    >>> round(batch_noise([1.0, 2.0, 1.0, 2.0]), 2)
    1.21
    """
    if len(losses) < 3:
        return 0.0
    ahead = zip(losses, losses[1:], losses[2:], strict=False)
    return median(abs(a - 2 * b + c) for a, b, c in ahead) / (0.6745 * math.sqrt(6))
