"""JAX behind the seam: the step's jaxpr is run again with a shadow of every operation."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import jax
import keras

from floatline.backends.batches import of_one_batch
from floatline.backends.interface import Batch, CallHandler, LayerSource, Notes
from floatline.backends.jax.discovery import find_steps
from floatline.backends.jax.handed import Handed
from floatline.backends.jax.intercept import intercept
from floatline.backends.jax.lanes import Array
from floatline.backends.jax.leaves import static_positions
from floatline.backends.jax.step import JaxStep
from floatline.backends.jax.variables import ModelVariables, NoVariables


@final
class JaxBackend:
    """The JAX backend of Keras."""

    name = "jax"

    def framework(self) -> str:
        """Name and version of the framework."""
        return f"JAX {jax.__version__}"

    def device(self) -> str:
        """The device that training runs on, in words."""
        return ", ".join(f"{device.platform.upper()}:{device.id}" for device in jax.devices())

    def free_bytes(self) -> int | None:
        """Memory that the device has left; None on a CPU."""
        told = jax.devices()[0].memory_stats() or {}
        limit = told.get("bytes_limit")
        return None if limit is None else int(limit - told.get("bytes_in_use", 0))

    def keras_step(self, model: keras.Model, layer_source: LayerSource) -> JaxStep:
        """The training step of a compiled Keras model."""
        variables = ModelVariables(model)

        def call(state: Sequence[Array], batch: Batch) -> tuple[Any, list[Array]]:
            logs, after = model.train_step(variables.grouped(state), batch)
            return logs, [value for group in after for value in group]

        return JaxStep(
            call,
            variables=variables,
            owner=model,
            eager=bool(model.run_eagerly) or not model.jit_compile,
            layer_source=layer_source,
        )

    def function_step(self, function: Callable[..., Any], layer_source: LayerSource) -> JaxStep:
        """The training step that a user wrote as a function of one batch.

        A batch that is a tuple fills the function's parameters, any other batch its first one.
        State that the step is given and returns is part of the batch.
        """
        written = of_one_batch(function)

        def call(state: Sequence[Array], batch: Batch) -> tuple[Any, Sequence[Array]]:
            return written(batch), state

        compiled = hasattr(function, "lower") or isinstance(function, Handed)
        return JaxStep(
            call,
            variables=NoVariables(),
            owner=None,
            eager=not compiled,
            layer_source=layer_source,
            arguments=_parameters(function),
            static=static_positions(function),
            numbers=True,
        )

    def intercept(
        self, model: keras.Model, advance: Callable[[Batch], Any]
    ) -> AbstractContextManager[None]:
        """While active, `fit` and `train_on_batch` of `model` hand every batch to `advance`."""
        return intercept(model, advance)

    @contextlib.contextmanager
    def find_steps(self, handler: CallHandler) -> Iterator[Notes]:
        """While active, calls of the user's compiled functions go to `handler`."""
        with find_steps(handler):
            yield tuple

    @contextlib.contextmanager
    def preserve_random_state(self) -> Iterator[None]:
        """On exit, the framework's global random state is what it was on entry.

        JAX has none: every draw names its key.
        """
        yield


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    if isinstance(function, Handed):
        return ("", "inner")  # The user's own names need nothing before them.
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()
