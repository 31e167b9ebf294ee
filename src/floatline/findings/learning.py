"""Does a training learn from its inputs? Told from float32, on other targets as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from floatline.findings.outcome import finite_losses, starting_loss, tail_steps
from floatline.records import History, Reference, StepRecord

SAME = 1e-5
"""Relative distance up to which two float32 losses are the same: what rounding leaves of them."""

LEAST_EPOCHS = 4
"""Passes over the data below which even a training without success may be meant: a test of speed
on random numbers."""

LEAST_STEPS = 60
"""Steps below which a loss that hardly falls says nothing: the training may only have begun."""

MANY_STEPS = 500
"""Updates after which a training that has learned nothing is told to fail before its end is seen:
even a learning rate that warms up over some thousands has moved something by then."""

FALLEN_SHARE = 0.25
"""Loss at the end over the loss at the start below which a training plainly learns something."""

DEALS = 3
"""Trainings on other targets: how well they end differs with what there is to learn by heart."""

STANDARD_ERRORS = 3.0
"""Of the difference: what the right targets gain must be within so many of nothing."""

NOTHING_SHARE = 0.05
"""Share of the loss that they may gain at the most, an error counted in; where the losses scatter
so much that more is possible, nothing is concluded."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What the right targets gain at the end of a float32 training.

    Attributes:
        loss: Mean loss at the end with them.
        others: Mean loss at the end with targets that belong to other inputs.
        error: Standard error of the difference: from step to step, and from deal to deal.
    """

    loss: float
    others: float
    error: float

    @property
    def is_nothing(self) -> bool:
        """Whether they surely gain next to nothing."""
        gain = self.others - self.loss
        little = gain + self.error < NOTHING_SHARE * abs(self.loss)
        return little and gain <= STANDARD_ERRORS * self.error


def learns_little(history: History) -> bool:
    """Whether the loss of a whole training hardly falls.

    Example:

    >>> falls = History(tuple(StepRecord(i, 1 / (i + 1)) for i in range(80)), "end of training")
    >>> stays = History(tuple(StepRecord(i, 1.0) for i in range(80)), "end of training")
    >>> learns_little(falls), learns_little(stays)
    (False, True)
    """
    losses, start = finite_losses(history.steps), starting_loss(history.steps)
    updates = sum(not step.skipped for step in history.steps)
    if start is None or start <= 0 or updates < LEAST_STEPS or len(losses) < len(history.steps):
        return False
    if history.stopped not in ("end of training", "budget"):
        return False
    return mean(losses[-tail_steps(len(losses)) :]) > FALLEN_SHARE * start


def may_learn_nothing(reference: Reference) -> bool:
    """Whether one more training on other targets could show that nothing is learned.

    Not where one is missing, where targets are ignored, or where the right ones gain much.
    """
    found = gains(reference)
    return bool(found) and all(g.others - g.loss < NOTHING_SHARE * abs(g.loss) for g in found)


def gains(reference: Reference) -> list[Gain]:
    """What the right targets gain: in float32 as the step was built, and as it is built anew."""
    deals = reference.dealt_out
    if not deals or not all(_targets_matter(reference.steps, others) for others in deals):
        return []
    trainings = (reference.steps, reference.rebuilt)
    return [_gain(steps, deals) for steps in trainings if _comparable(steps, deals)]


def _comparable(steps: Sequence[StepRecord], deals: Sequence[Sequence[StepRecord]]) -> bool:
    return all(len(_pairs(steps, others)) >= LEAST_STEPS for others in deals)


def _targets_matter(steps: Sequence[StepRecord], others: Sequence[StepRecord]) -> bool:
    """Whether other targets make other losses; a training may ignore those that `fit` asks for."""
    pairs = _pairs(steps, others)
    return not all(math.isclose(one, other, rel_tol=SAME) for one, other in pairs)


def _pairs(steps: Sequence[StepRecord], others: Sequence[StepRecord]) -> list[tuple[float, float]]:
    """Losses side by side, up to the first that is not finite."""
    pairs = []
    for one, other in zip(steps, others, strict=False):
        if one.loss is None or other.loss is None or not math.isfinite(one.loss + other.loss):
            break
        pairs.append((one.loss, other.loss))
    return pairs


def _gain(steps: Sequence[StepRecord], deals: Sequence[Sequence[StepRecord]]) -> Gain:
    tails = [pairs[-tail_steps(len(pairs)) :] for pairs in (_pairs(steps, d) for d in deals)]
    levels = [mean(other for _, other in tail) for tail in tails]
    differences = [mean(pair) for pair in zip(*map(_differences, tails), strict=False)]
    by_step = stdev(differences) / math.sqrt(len(differences))
    by_deal = stdev(levels) * math.sqrt(1 + 1 / len(levels)) if len(levels) > 1 else 0.0
    loss = mean(one for one, _ in tails[0])
    return Gain(loss, loss + mean(differences), math.hypot(by_step, by_deal))


def _differences(tail: Sequence[tuple[float, float]]) -> list[float]:
    return [other - one for one, other in tail]
