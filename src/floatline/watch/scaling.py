"""Reads the state of loss scaling from whatever optimizer keeps it, without disturbing a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from floatline.scaling.variables import Snapshot
from floatline.watch.records import ScaleReading

Values = Callable[[Sequence[Any]], list[Any]]
"""The values of variables at this moment."""


class ScaleReader:
    """Reads a model's loss-scale optimizer, Floatline's or Keras'.

    Keras' optimizer does not count what it skips: a skipped step is one in which its inner
    optimizer did not count.

    Args:
        optimizer: The model's optimizer, built.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        own = [id(variable) for variable in getattr(optimizer, "scale_variables", ())]
        self._read_from = [v for v in optimizer.variables if len(v.shape) == 0 or id(v) in own]
        self._start: int | None = None
        self._steps = 0
        self._applied = 0
        self._idle = 0

    def read(self, values: Values, steps: int) -> ScaleReading | None:
        """The state now, which the host waits for; None when nothing is scaled.

        Args:
            values: Gives the values of variables.
            steps: Steps since the training began.
        """
        return self.reading([*map(keras.ops.convert_to_numpy, self.tensors(values))], steps)

    def tensors(self, values: Values) -> list[Any]:
        """What a reading is made of; none when nothing is scaled.

        Args:
            values: Gives the values of variables.
        """
        if not _scales(self._optimizer):
            return []
        held = list(zip(self._read_from, values(self._read_from), strict=True))
        with keras.StatelessScope(held):
            if hasattr(self._optimizer, "report"):
                return list(self._optimizer.snapshot())
            # The count itself: `iterations` is a quotient of it when gradients are accumulated.
            applied = self._optimizer.inner_optimizer._iterations  # noqa: SLF001
            return [self._optimizer.dynamic_scale.value, applied.value]

    def reading(self, numbers: Sequence[Any], steps: int) -> ScaleReading | None:
        """What those tensors say; readings follow each other in the order of steps.

        What was skipped before the first reading does not count.

        Args:
            numbers: The tensors, on the host.
            steps: Steps since the training began, up to that moment.
        """
        if not numbers:
            return None
        if hasattr(self._optimizer, "report"):
            return self._reported(self._optimizer.report_of(Snapshot(*numbers)))
        scale, applied = numbers
        return self._counted(float(scale), int(applied), steps)

    @property
    def least(self) -> float:
        """The smallest value that the scale may take; 0 where Keras' class has no floor."""
        if not _scales(self._optimizer):
            return 1.0
        law = getattr(self._optimizer, "scale", None)
        return 0.0 if law is None else float(getattr(law, "floor", law.initial_state().scale))

    def scale(self, values: Values) -> float:
        """The loss scale now; 1 when nothing is scaled."""
        variable = getattr(self._optimizer, "dynamic_scale", None)
        if variable is None:
            return 1.0
        return float(keras.ops.convert_to_numpy(values([variable])[0]))

    def _reported(self, report: Any) -> ScaleReading:
        if self._start is None:
            self._start = report.skipped
        skipped = report.skipped - self._start
        return ScaleReading(report.scale, skipped, report.consecutive, report.culprit)

    def _counted(self, scale: float, applied: int, steps: int) -> ScaleReading:
        if self._start is None:
            self._start = applied
        applied -= self._start
        if steps > self._steps:
            idle = applied == self._applied
            self._idle = self._idle + steps - self._steps if idle else 0
        self._steps, self._applied = steps, applied
        return ScaleReading(scale, max(0, steps - applied), self._idle)


def _scales(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
