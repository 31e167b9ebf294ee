"""What one step's gradients tell a loss scale."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from floatline.scaling.state import Observation, Tensor

LARGEST_FLOAT = 2.0**127
"""No gradient is as large. Not infinity, for which users may search the whole program."""


def observe(magnitudes: Tensor, scale: Tensor, measured: Sequence[bool]) -> Observation:
    """Draws an observation from the gradients' largest magnitudes.

    Args:
        magnitudes: Largest magnitude of each scaled gradient, shape `(gradients,)`.
        scale: The scale that is in them.
        measured: For each gradient, whether it is one: what overwrites its variable must be
            finite, too, but is not scaled and says nothing about gradients.
    """
    finite = ops.all(ops.isfinite(magnitudes))
    kept = [index for index, is_gradient in enumerate(measured) if is_gradient]
    if len(kept) < len(measured):
        magnitudes = ops.take(magnitudes, kept) if kept else ops.zeros((1,))
    unscaled = magnitudes / scale
    smallest = ops.min(ops.where(ops.greater(unscaled, 0.0), unscaled, LARGEST_FLOAT))
    largest = ops.max(unscaled)
    return Observation(finite, largest, ops.where(ops.less(smallest, LARGEST_FLOAT), smallest, 0.0))
