"""Follows what a watch samples over time, and warns of what grows towards a limit, once each."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator

from floatline.formats import FORMATS
from floatline.watch.drift import LATEST_POINTS, Point, drift
from floatline.watch.records import Drift, Sample


class Trends:
    """The latest samples of every activation and gradient.

    Args:
        least_scale: The smallest value that the loss scale may take; 0 where it has no floor.
    """

    def __init__(self, least_scale: float = 1.0) -> None:
        self._least_scale = least_scale
        self._points: dict[str, deque[Point]] = defaultdict(lambda: deque(maxlen=LATEST_POINTS))
        self._warned: set[str] = set()

    def after(self, sample: Sample) -> tuple[Drift, ...]:
        """Adds a sample; returns the drifts that are new."""
        found = []
        for quantity, value, limit in quantities(sample, self._least_scale):
            points = self._points[quantity]
            points.append((sample.step, value))
            warning = drift(quantity, tuple(points), limit)
            if warning is None:
                self._warned.discard(quantity)
            elif quantity not in self._warned:
                self._warned.add(quantity)
                found.append(warning)
        return tuple(found)


def quantities(sample: Sample, least_scale: float) -> Iterator[tuple[str, float, float]]:
    """What is followed: its name in words, its value, and the largest that its format holds.

    Gradients are followed without the loss scale, which follows them by itself as far as it can:
    the limit is what fits at the smallest scale into the narrowest format that the layers of the
    step return, and in any case that of float32, which weights have.
    """
    for entry in sample.activations:
        name = f"the largest activation of {entry.layer} ({entry.dtype})"
        yield name, entry.largest, FORMATS[entry.dtype].max_finite
    limits = [FORMATS[entry.dtype].max_finite for entry in sample.activations]
    if limits and sample.variables:
        largest = max(entry.largest for entry in sample.variables)
        limit = min(limits) / least_scale if least_scale else math.inf
        yield "the largest gradient", largest, min(limit, FORMATS["float32"].max_finite)
