"""Early warning: whether a magnitude grows towards a limit, and how many steps that leaves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import combinations

from floatline.watch.records import Drift

Point = tuple[int, float]
"""A step and a magnitude."""

LEAST_POINTS = 6
"""Fewer say nothing of a trend: any five numbers rise in order once in 120 times by chance."""

LATEST_POINTS = 16
"""A trend is that of the latest samples; what was before the last 16 is over."""

RISING_SHARE = 0.9
"""Share of all pairs of samples whose later one is larger. Noise around a constant has 0.5."""

LEAST_GAIN = 2.0
"""Powers of two that it must have grown. A healthy start of training moves weights and
activations by one or two."""

HORIZON = 1.0
"""How far ahead is looked, in lengths of the time that was seen: a limit is near when as much
growth again reaches it. Predictions of a young model grow as steeply, and stop at their targets."""


def drift(quantity: str, points: Sequence[Point], limit: float) -> Drift | None:
    """A warning when a magnitude will reach its limit soon; None otherwise, and when it has.

    The pace is the median slope of log2 over all pairs of samples (Theil and Sen), or that of the
    newer half where it is less: growth that is slowing down is no drift.

    Args:
        quantity: What the points are, in words.
        points: Samples in order of their steps.
        limit: The largest value that the format holds.

    Example:

    >>> growing = [(100 * n, 2.0**n) for n in range(12)]
    >>> drift("largest activation of dense", growing, 65504.0).steps_left
    499
    >>> drift("largest activation of dense", [(step, 3.0) for step, _ in growing], 65504.0)
    """
    known = [(step, math.log2(value)) for step, value in points if 0 < value < math.inf]
    known = known[-LATEST_POINTS:]
    if len(known) < LEAST_POINTS:
        return None
    pace = min(slope(known), slope(known[len(known) // 2 :]))
    step, exponent = known[-1]
    seen = step - known[0][0]
    if pace <= 0 or exponent - known[0][1] < LEAST_GAIN or rising(known) < RISING_SHARE:
        return None
    steps_left = (math.log2(limit) - exponent) / pace
    if not 0 < steps_left <= HORIZON * seen:
        return None
    return Drift(quantity, step, 2.0**exponent, limit, pace, int(steps_left))


def slope(points: Sequence[Point]) -> float:
    """The median of the slopes between all pairs.

    >>> slope([(0, 0.0), (1, 1.0), (2, 2.0), (3, 99.0), (4, 4.0)])
    1.0
    """
    slopes = [(b - a) / (later - step) for (step, a), (later, b) in combinations(points, 2)]
    return statistics.median(slopes) if slopes else 0.0


def rising(points: Sequence[Point]) -> float:
    """The share of pairs whose later value is larger.

    >>> rising([(0, 1.0), (1, 2.0), (2, 0.0)])
    0.3333333333333333
    """
    pairs = list(combinations(points, 2))
    return sum(b > a for (_, a), (_, b) in pairs) / len(pairs)
