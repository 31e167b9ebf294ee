"""The variables of a Keras model under JAX: read, written and kept as plain arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from floatline.backends.jax.lanes import Array
from floatline.backends.loss_scales import scale_variables
from floatline.backends.shelf import Shelf, Shelved


class ModelVariables:
    """Everything that a training step of a model reads and replaces, in the trainer's order.

    Args:
        model: A compiled Keras model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def groups(self) -> tuple[list[Any], ...]:
        """Trainable, non-trainable, optimizer and metrics variables, as Keras' trainer has them."""
        model = self._model
        return (
            list(model.trainable_variables),
            list(model.non_trainable_variables),
            list(model.optimizer.variables),
            list(model.metrics_variables),
        )

    def build(self, batch: Any) -> None:
        """Makes those that are not made yet; Keras' own trainer does it in the same way."""
        if not getattr(self._model.optimizer, "built", True) or not self._model.built:
            # What Keras cannot build, the step reports when it runs.
            with contextlib.suppress(Exception):
                self._model._symbolic_build(data_batch=batch)  # noqa: SLF001 (it has no public name)

    def all(self) -> list[Any]:
        """All of them, flat."""
        return [variable for group in self.groups() for variable in group]

    def paths(self) -> list[str]:
        """The path that Keras gives each variable."""
        return [str(variable.path) for variable in self.all()]

    def grouped(self, flat: Sequence[Array]) -> tuple[list[Array], ...]:
        """Flat values as the state of Keras' `train_step`."""
        waiting = iter(flat)
        return tuple([next(waiting) for _ in group] for group in self.groups())


class NoVariables:
    """Stands for the variables of a step that is given its whole state."""

    def build(self, batch: Any) -> None:
        """Nothing is to be made."""

    def all(self) -> list[Any]:
        """None."""
        return []

    def paths(self) -> list[str]:
        """None."""
        return []


def values_of(variables: Sequence[Any]) -> list[Array]:
    """The arrays behind variables; `value` would be cast under autocast."""
    return [variable._value for variable in variables]  # noqa: SLF001 (see above)


def kept(array: Array, shelf: Shelf | None) -> Array | Shelved:
    """A value in memory of its own, for Keras hands its arrays over to be overwritten; or on disk.

    An array over several devices stays where it is, and so do keys of random generators.
    """
    numbers = not jnp.issubdtype(array.dtype, jax.dtypes.extended)
    alone = numbers and len(array.sharding.device_set) == 1
    if shelf is None or not alone or not shelf.takes(array.nbytes):
        return jnp.copy(array)
    return shelf.put(np.asarray(array))


def recalled(value: Array | Shelved) -> Array:
    """The value that was kept."""
    return jnp.asarray(value.array()) if isinstance(value, Shelved) else value


def scale_paths(optimizers: Sequence[Any]) -> set[str]:
    """Paths of the variables that drive the loss scale: the scale itself and what it counts."""
    return {str(variable.path) for variable in scale_variables(optimizers)}


def scale_position(optimizers: Sequence[Any], paths: Sequence[str]) -> int | None:
    """Which of the step's inputs is the loss scale; None when nothing is scaled."""
    for optimizer in optimizers:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and optimizer.built:
            path = str(optimizer.dynamic_scale.path)
            return list(paths).index(path) if path in paths else None
    return None
