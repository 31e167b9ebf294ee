"""How far apart samples lie, so that they take a small share of the time of training."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

SHARE = 0.004
"""Of the time of training, what samples may take."""

FIRST = 50
"""Steps before the first sample: early, so that a short training gets some."""

LEAST, MOST = 100, 10_000
"""Bounds of the steps between two samples, whatever they cost."""

_LATEST = 5
"""Measured times that count; the median of a few forgets the one that compiled anew."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What steps take, and steps that are sampled.

    Attributes:
        plain: Seconds per step, of the latest stretches without a sample.
        sampled: Seconds of the latest sampled steps, the step itself included.
    """

    plain: tuple[float, ...] = ()
    sampled: tuple[float, ...] = ()

    def after_plain(self, seconds: float, steps: int) -> Pace:
        """The pace after a stretch of steps without a sample."""
        return replace(self, plain=(*self.plain, seconds / steps)[-_LATEST:])

    def after_sampled(self, seconds: float) -> Pace:
        """The pace after a step that was sampled."""
        return replace(self, sampled=(*self.sampled, seconds)[-_LATEST:])


def steps_between(pace: Pace) -> int:
    """Steps from one sample to the next, so that samples take `SHARE` of the time.

    Args:
        pace: What was measured; as long as no sample was, samples are as near as they may be.

    >>> steps_between(Pace(plain=(0.01,), sampled=(0.05,)))
    1000
    >>> steps_between(Pace())
    100
    """
    if not (pace.plain and pace.sampled):
        return LEAST
    plain = statistics.median(pace.plain)
    added = statistics.median_low(pace.sampled) - plain
    if plain <= 0:  # A clock that is too coarse for these steps.
        return LEAST
    return min(max(math.ceil(round(added / plain / SHARE, 6)), LEAST), MOST)
