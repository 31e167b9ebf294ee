"""The variables of Keras' loss-scale optimizers, the same on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def scale_variables(optimizers: Sequence[Any]) -> list[keras.Variable]:
    """What drives the loss scale: the scale itself and what it counts.

    A training in float32 needs no loss scale, so these are kept out of it.

    Args:
        optimizers: Keras optimizers; those that scale nothing, or are not built, have none.
    """
    found: list[keras.Variable] = []
    for optimizer in optimizers:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and optimizer.built:
            own = (optimizer.dynamic_scale, optimizer.step_counter)
            # Floatline's own class has more of them than Keras'.
            found += getattr(optimizer, "scale_variables", own)
    return found
