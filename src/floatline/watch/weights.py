"""Looks through the weights for the first that is not finite: one number each, on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from floatline.backends.watch_interface import Training, WatchKernels
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
        if not self._variables:
            return None
        values = training.values(self._variables)
        finite = np.isfinite(ops.convert_to_numpy(self._magnitudes(values)))
        return None if finite.all() else str(self._variables[int(finite.argmin())].path)
