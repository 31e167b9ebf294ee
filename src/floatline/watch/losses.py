"""The loss of the latest steps, from the running means that Keras logs."""

from __future__ import annotations

import math
from typing import Any

from keras import ops


class Losses:
    """Takes the mean loss of the steps since the last look out of a mean since the epoch began.

    It holds for batches of one size; the smaller last one of an epoch hardly matters.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._steps_before = 0
        self._mean_before = 0.0

    def begin(self) -> None:
        """An epoch begins: so does the mean."""
        self._steps = self._steps_before = 0
        self._mean_before = 0.0

    def count(self, steps: int) -> None:
        """So many steps were taken."""
        self._steps += steps

    def since(self, mean: float | None) -> float | None:
        """The mean loss since the last look, when the mean since the epoch began is `mean`.

        >>> losses = Losses()
        >>> losses.count(2)
        >>> losses.since(4.0)
        4.0
        >>> losses.count(2)
        >>> losses.since(3.0)
        2.0
        """
        before, mean_before = self._steps_before, self._mean_before
        if mean is None or self._steps <= before:
            return mean
        self._steps_before, self._mean_before = self._steps, mean
        if not (math.isfinite(mean) and math.isfinite(mean_before)):
            return mean
        return (mean * self._steps - mean_before * before) / (self._steps - before)


def loss_of(logs: Any) -> float | None:
    """The loss in the logs of a step; waits for the device.

    A train step of the user's own may have several, named `..._loss`: the first that is not
    finite counts, else the first.
    """
    if not isinstance(logs, dict):
        return None
    names = ["loss"] if "loss" in logs else [name for name in logs if name.endswith("_loss")]
    values = [float(ops.convert_to_numpy(logs[name])) for name in names]
    broken = [value for value in values if not math.isfinite(value)]
    return next(iter(broken + values), None)
