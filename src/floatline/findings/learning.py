"""Does a training learn anything from its inputs? Told from float32, with those of others, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from floatline.findings.outcome import TAIL_STEPS, finite_losses, starting_loss, tail_steps
from floatline.records import History, Reference, StepRecord

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

STANDARD_ERRORS = 2.0
"""Of the mean difference per step: what the right inputs gain must be within so many of nothing."""

NOTHING_SHARE = 0.05
"""Share of the loss that they may gain at the most, the standard errors counted in; where the
losses scatter so much that more is possible, nothing is concluded."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What the right inputs gain at the end of a float32 training.

    Attributes:
        loss: Mean loss at the end with them.
        others: Mean loss at the end with inputs that belong to other targets.
        error: Standard error of the mean difference, step by step.
    """

    loss: float
    others: float
    error: float

    @property
    def is_nothing(self) -> bool:
        """Whether they surely gain next to nothing."""
        gain, noise = self.others - self.loss, STANDARD_ERRORS * self.error
        return gain <= noise and gain + noise < NOTHING_SHARE * abs(self.loss)


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


def gains(reference: Reference) -> list[Gain]:
    """What the right inputs gain: in float32 as the step was built, and as it is built anew."""
    trainings = (reference.steps, reference.rebuilt)
    found = (_gain(steps, reference.dealt_out) for steps in trainings if steps)
    return [gain for gain in found if gain is not None]


def _gain(steps: Sequence[StepRecord], others: Sequence[StepRecord]) -> Gain | None:
    length = min(len(steps), len(others))
    pairs = [(a.loss, b.loss) for a, b in zip(steps[:length], others[:length], strict=True)]
    tail = [
        (a, b)
        for a, b in pairs[-tail_steps(length) :]
        if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
    ]
    if length < LEAST_STEPS or len(tail) < TAIL_STEPS:
        return None
    error = stdev(b - a for a, b in tail) / math.sqrt(len(tail))
    return Gain(mean(a for a, _ in tail), mean(b for _, b in tail), error)
