"""When a watch measures a step: every so many steps, or as often as a share of the time allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter

from floatline.watch.pace import FIRST, Pace, steps_between


class Occasions:
    """Tells when the next step is to be sampled.

    Without a fixed number of steps, a sample follows a reading: that has just waited for the
    device, so a look at the clock measures the sample and nothing that was begun before it.

    Args:
        every: Steps between two samples; 0 for none, None to let their cost decide.
        clock: Seconds that only grow.
    """

    def __init__(self, every: int | None, clock: Callable[[], float] = perf_counter) -> None:
        self._every = every
        self._clock = clock
        self._next = FIRST if every is None else every or math.inf
        self._pace = Pace()
        self._stretch: tuple[int, float] | None = None
        """Step and time of the latest moment that nothing was waited for and nothing sampled."""
        self._at, self._began = 0, 0.0

    def due(self, steps: int) -> bool:
        """Whether the step that comes is to be sampled.

        Args:
            steps: Steps before it.
        """
        after_reading = self._stretch is not None and self._stretch[0] == steps
        return steps >= self._next and (self._every is not None or after_reading)

    def waits(self, steps: int) -> bool:
        """Whether a sample only waits for a reading, which then must not be late.

        Args:
            steps: Steps up to that reading.
        """
        return self._every is None and steps >= self._next

    def begin(self, steps: int) -> None:
        """Says that a sample begins.

        Args:
            steps: Steps before it.
        """
        self._at, self._began = steps, self._clock()
        self._stretch = None

    def end(self, *, typical: bool) -> None:
        """Says that the sampled step is over and everything of it is measured.

        Args:
            typical: Whether later ones will take as long: not when something was compiled on the
                way, or nothing was measured.
        """
        if typical:
            self._pace = self._pace.after_sampled(self._clock() - self._began)
        self._next = self._at + (self._every or steps_between(self._pace))
        self._stretch = None

    def read(self, steps: int) -> None:
        """Says that the device was waited for.

        Args:
            steps: Steps that it had then taken.
        """
        now = self._clock()
        if self._stretch is not None and steps > self._stretch[0]:
            begin, since = self._stretch
            self._pace = self._pace.after_plain(now - since, steps - begin)
        self._stretch = steps, now
