"""When a training has failed: pure functions of what the watch has read so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

from floatline.watch.records import Reading, Symptom

STALLED_STEPS = 25
"""Skipped steps in a row. Halving takes Keras' 32768 down to 2**-10 in 25 steps, and no healthy
training needs a scale below 1."""

DIVERGED_READINGS = 3
"""Readings in a row above the bound: one bad stretch of data passes."""

DIVERGED_FACTOR = 10.0
"""How many times the loss must have lost what it ever gained."""


def symptom(readings: Sequence[Reading]) -> Symptom | None:
    """What the latest reading shows of a failure.

    Args:
        readings: All readings so far, at least one.
    """
    return _not_finite(readings[-1]) or _stalled(readings[-1]) or _diverged(readings)


def _not_finite(latest: Reading) -> Symptom | None:
    if latest.bad_weight is not None:
        message = "The weights are not finite."
        return Symptom("non-finite", latest.step, message)
    # A loss scale skips what is not finite; such a loss then spoils a mean and nothing else.
    if latest.scaling is None and latest.loss is not None and not math.isfinite(latest.loss):
        return Symptom("non-finite", latest.step, f"The loss is {latest.loss:g}.")
    return None


def _stalled(latest: Reading) -> Symptom | None:
    scaling = latest.scaling
    if scaling is None or scaling.consecutive < STALLED_STEPS:
        return None
    first = f", first that of {scaling.culprit}" if scaling.culprit else ""
    message = (
        f"The last {scaling.consecutive} steps were skipped because gradients were not "
        f"finite{first}. The loss scale is {scaling.scale:g}."
    )
    return Symptom("stalled-scale", latest.step, message)


def _diverged(readings: Sequence[Reading]) -> Symptom | None:
    losses = [r.loss for r in readings if r.loss is not None and math.isfinite(r.loss)]
    if not diverged(losses):
        return None
    message = f"The loss has grown to {losses[-1]:g} from {min(losses):g}."
    return Symptom("divergence", readings[-1].step, message)


def diverged(losses: Sequence[float]) -> bool:
    """Whether the latest losses lie far above everything that training began with or reached.

    The bound is the best loss plus ten times the larger of the first loss' magnitude and what was
    gained since. A loss that stays, wanders or returns to where it began is not divergence.

    Args:
        losses: Mean losses of equally long stretches.

    >>> diverged([1.0, 0.5, 0.1, 40.0, 90.0, 200.0])
    True
    >>> diverged([1.0, 0.5, 0.1, 40.0, 0.2, 0.1])
    False
    """
    if len(losses) <= DIVERGED_READINGS:
        return False
    first, best = losses[0], min(losses)
    bound = best + DIVERGED_FACTOR * max(abs(first), first - best)
    return all(loss > bound for loss in losses[-DIVERGED_READINGS:])
