"""The loss of the latest steps, from the running means that Keras logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops


class Losses:
    """Takes the mean loss of the steps since the last look out of a mean since the epoch began.

    It holds for batches of one size; the smaller last one of an epoch hardly matters.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """An epoch begins: so does the mean."""
        self._steps, self._mean = 0, 0.0

    def since(self, mean: float | None, steps: int) -> float | None:
        """The mean loss since the last look, when that of so many steps of the epoch is `mean`.

        >>> losses = Losses()
        >>> losses.since(4.0, 2)
        4.0
        >>> losses.since(3.0, 4)
        2.0
        """
        steps_before, mean_before = self._steps, self._mean
        if mean is None or steps <= steps_before:
            return mean
        self._steps, self._mean = steps, mean
        if not (math.isfinite(mean) and math.isfinite(mean_before)):
            return mean
        return (mean * steps - mean_before * steps_before) / (steps - steps_before)


def loss_of(logs: Any) -> float | None:
    """The loss in the logs of a step; waits for the device."""
    return worst([ops.convert_to_numpy(loss) for loss in losses_in(logs)])


def losses_in(logs: Any) -> list[Any]:
    """The losses in the logs of a step, as they are: a step of the user's own may have several."""
    if not isinstance(logs, dict):
        return []
    names = ["loss"] if "loss" in logs else [name for name in logs if name.endswith("_loss")]
    return [logs[name] for name in names]


def worst(losses: Sequence[Any]) -> float | None:
    """The first loss that is not finite, else the first; None where there is none."""
    values = [float(loss) for loss in losses]
    broken = [value for value in values if not math.isfinite(value)]
    return next(iter(broken + values), None)
