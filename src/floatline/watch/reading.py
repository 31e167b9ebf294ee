"""Readings: begun when they are due, and finished while the device works at the next step."""

from __future__ import annotations

from dataclasses import dataclass

from floatline.backends.watch_interface import Arrived, Logs, Training, WatchKernels
from floatline.watch.losses import Losses, losses_in, worst
from floatline.watch.records import Reading
from floatline.watch.scaling import ScaleReader
from floatline.watch.weights import Weights


@dataclass(frozen=True, slots=True)
class Begun:
    """A reading whose numbers are on their way to the host.

    Attributes:
        step: As in `Reading`.
        epoch: As in `Reading`.
        steps: How many of the steps were in this epoch.
        losses: The losses in the logs of the step.
        scaling: What a `ScaleReader` reads.
        magnitudes: Those of the weights; none where nobody asks for them.
    """

    step: int
    epoch: int
    steps: int
    losses: Arrived
    scaling: Arrived
    magnitudes: Arrived


class Reader:
    """Reads a training without making the device wait for the host.

    Args:
        kernels: The framework.
        scaling: Reads its loss scale.
        weights: Looks through its weights.
    """

    def __init__(self, kernels: WatchKernels, scaling: ScaleReader, weights: Weights) -> None:
        self._kernels = kernels
        self._scaling = scaling
        self._weights = weights
        self._losses = Losses()
        self._epoch, self._before = 0, 0

    def begin_epoch(self, epoch: int, steps: int) -> None:
        """Says that the means in the logs begin anew.

        Args:
            epoch: From 0.
            steps: Steps before it.
        """
        self._epoch, self._before = epoch, steps
        self._losses.begin()

    def begin(self, training: Training, logs: Logs, steps: int, *, weights: bool) -> Begun:
        """Begins to read the step that was just taken; what is written later does not matter.

        Args:
            training: The training after the step.
            logs: What its train function returned.
            steps: Steps since the training began.
            weights: Whether the weights are looked at, too.
        """
        magnitudes = self._weights.magnitudes(training) if weights else []
        fetched = self._kernels.fetched
        return Begun(
            steps,
            self._epoch,
            steps - self._before,
            fetched(losses_in(logs)),
            fetched(self._scaling.tensors(training.values)),
            fetched(magnitudes),
        )

    def finish(self, begun: Begun) -> Reading:
        """The reading; waits for the step that it is of, and for none after it."""
        return Reading(
            begun.step,
            begun.epoch,
            self._losses.since(worst(begun.losses()), begun.steps),
            self._scaling.reading(begun.scaling(), begun.step),
            self._weights.named(begun.magnitudes()),
        )
