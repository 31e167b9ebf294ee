"""Looks through the weights for the first that is not finite: one number each, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from floatline.backends.watch_interface import Tensor, Training, WatchKernels
from floatline.scaling.kernels import load_kernels


class Weights:
    """The weights that training moves.

    Args:
        model: The model.
        kernels: The framework.
    """

    def __init__(self, model: Any, kernels: WatchKernels) -> None:
        self._variables = list(model.trainable_variables)
        self._magnitudes = kernels.compiled(load_kernels().magnitudes)

    def first_bad(self, training: Training) -> str | None:
        """Path of the first weight with a value that is not finite; waits for the device."""
        return self.named([ops.convert_to_numpy(found) for found in self.magnitudes(training)])

    def magnitudes(self, training: Training) -> list[Tensor]:
        """The magnitudes of all weights as one tensor; none without weights."""
        values = training.values(self._variables)
        return [self._magnitudes(values)] if values else []

    def named(self, magnitudes: Sequence[Any]) -> str | None:
        """Path of the first weight of which these magnitudes, on the host, say that it is bad."""
        for magnitude in magnitudes:
            finite = np.isfinite(magnitude)
            if not finite.all():
                return str(self._variables[int(finite.argmin())].path)
        return None
