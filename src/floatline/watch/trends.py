"""Follows what a watch samples over time, and warns of what grows towards a limit, once each."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

from floatline.formats import FORMATS
from floatline.watch.drift import LATEST_POINTS, Point, drift
from floatline.watch.records import Drift, Sample


class Trends:
    """The latest samples of every activation and gradient."""

    def __init__(self) -> None:
        self._points: dict[str, deque[Point]] = defaultdict(lambda: deque(maxlen=LATEST_POINTS))
        self._warned: set[str] = set()

    def after(self, sample: Sample) -> tuple[Drift, ...]:
        """Adds a sample; returns the drifts that are new."""
        found = []
        for quantity, value, limit in quantities(sample):
            points = self._points[quantity]
            points.append((sample.step, value))
            warning = drift(quantity, tuple(points), limit)
            if warning is None:
                self._warned.discard(quantity)
            elif quantity not in self._warned:
                self._warned.add(quantity)
                found.append(warning)
        return tuple(found)


def quantities(sample: Sample) -> Iterator[tuple[str, float, float]]:
    """What is followed: its name in words, its value, and the largest that its format holds.

    Gradients are followed without the loss scale, which follows them by itself as far as it can:
    the limit is that of the narrowest format that the layers of the step return.
    """
    for entry in sample.activations:
        name = f"the largest activation of {entry.layer} ({entry.dtype})"
        yield name, entry.largest, FORMATS[entry.dtype].max_finite
    limits = [FORMATS[entry.dtype].max_finite for entry in sample.activations]
    if limits and sample.variables:
        largest = max(entry.largest for entry in sample.variables)
        yield "the largest gradient", largest, min(limits)
