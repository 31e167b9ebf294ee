"""What a loss scale did so far, counted on the device and read when somebody asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from keras import ops

from floatline.scaling.state import Tensor

NO_GRADIENT = -1
"""`Counters.culprit` before any step was skipped."""


class Counters(NamedTuple):
    """Counts as integer scalars on the device; a pytree.

    Attributes:
        skipped: Steps that were skipped since the beginning.
        consecutive: Steps that were skipped one after the other until now.
        growths: How often the scale rose.
        backoffs: How often it fell.
        culprit: In the last skipped step, the index of the first gradient with a non-finite value.
        broken_losses: Of these consecutive steps, those whose loss was non-finite before it was
            scaled. Only a guarded `fit` or `train_on_batch` sees the loss.
    """

    skipped: Tensor = 0
    consecutive: Tensor = 0
    growths: Tensor = 0
    backoffs: Tensor = 0
    culprit: Tensor = NO_GRADIENT
    broken_losses: Tensor = 0

    def after(self, finite: Tensor, culprit: Tensor, scale: Tensor, next_scale: Tensor) -> Counters:
        """The counts after one more step.

        Args:
            finite: Whether the step was applied.
            culprit: Index of the first gradient with a non-finite value, if there is one.
            scale: The scale of this step.
            next_scale: The scale of the next step.
        """
        bad = ops.cast(ops.logical_not(finite), "int")
        return Counters(
            self.skipped + bad,
            (self.consecutive + bad) * bad,
            self.growths + ops.cast(ops.greater(next_scale, scale), "int"),
            self.backoffs + ops.cast(ops.less(next_scale, scale), "int"),
            ops.where(finite, self.culprit, ops.cast(culprit, "int")),
            self.broken_losses * bad,
        )


def cleared(before: Tensor, after: Tensor, fails: Tensor) -> Tensor:
    """The counts, as one vector, after a skipped step of which no scale is to blame if it `fails`.

    Args:
        before: The counts before the step.
        after: Those that blame the scale.
        fails: Whether the loss was non-finite before it was scaled.
    """
    blameless = Counters(False, False, True, True, False, True)
    broken = Counters(broken_losses=1, culprit=0)
    return ops.where(ops.logical_and(fails, blameless), before + ops.array(broken, "int"), after)


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """The state of loss scaling on the host, in plain numbers.

    Attributes:
        scale: The loss scale of the next step.
        floor: The smallest value that the scale may have.
        skipped: Steps that were skipped since the beginning.
        consecutive: Steps that were skipped one after the other until now.
        growths: How often the scale rose.
        backoffs: How often it fell.
        culprit: Path of the first variable whose gradient was non-finite in the last skipped
            step; None when no step was skipped.
        broken_losses: Of the consecutive steps, those whose loss was non-finite before it was
            scaled.
    """

    scale: float
    floor: float
    skipped: int
    consecutive: int
    growths: int
    backoffs: int
    culprit: str | None
    broken_losses: int
