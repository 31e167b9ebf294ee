"""TensorFlow behind the seam: the step's graph is run again with a shadow of every operation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, final

import keras
import tensorflow as tf
from tensorflow.python.eager import context

from floatline.backends.batches import of_one_batch
from floatline.backends.interface import Batch, CallHandler, LayerSource, Notes
from floatline.backends.tensorflow.discovery import find_steps
from floatline.backends.tensorflow.intercept import intercept
from floatline.backends.tensorflow.step import TensorFlowStep
from floatline.backends.tensorflow.strategies import mirrored_on_one_device
from floatline.errors import TrainingError


@final
class TensorFlowBackend:
    """The TensorFlow backend of Keras."""

    name = "tensorflow"

    def framework(self) -> str:
        """Name and version of the framework."""
        return f"TensorFlow {tf.__version__}"

    def device(self) -> str:
        """The device that training runs on, in words."""
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return ", ".join(device.name.removeprefix("/device:") for device in devices)

    def free_bytes(self) -> int | None:
        """TensorFlow tells what a GPU has used and not what it has left."""
        return None

    def keras_step(self, model: keras.Model, layer_source: LayerSource) -> TensorFlowStep:
        """The training step of a compiled Keras model.

        Raises:
            TrainingError: The model belongs to a distribution strategy.
        """
        strategy = model.distribute_strategy
        if strategy is not tf.distribute.get_strategy() or tf.distribute.has_strategy():
            raise TrainingError(
                f"The model was built under {type(strategy).__name__}, but a step can be looked "
                "into on one device only.",
                "Diagnose the script without the strategy's scope: what overflows on a replica "
                "overflows there as well.",
            )
        return TensorFlowStep(
            model.train_step,
            owner=model,
            eager=bool(model.run_eagerly),
            jit_compile=bool(model.jit_compile),
            layer_source=layer_source,
        )

    def function_step(
        self, function: Callable[..., Any], layer_source: LayerSource
    ) -> TensorFlowStep:
        """The training step that a user wrote as a function of one batch."""
        compiled = isinstance(function, tf.types.experimental.PolymorphicFunction)
        call = _as_written(function) if compiled else function
        return TensorFlowStep(
            of_one_batch(call),
            owner=None,
            eager=not compiled,
            jit_compile=bool(getattr(function, "_jit_compile", False)),
            layer_source=layer_source,
        )

    def intercept(
        self, model: keras.Model, advance: Callable[[Batch], Any]
    ) -> AbstractContextManager[None]:
        """While active, `fit` and `train_on_batch` of `model` hand every batch to `advance`."""
        return intercept(model, advance)

    @contextlib.contextmanager
    def find_steps(self, handler: CallHandler) -> Iterator[Notes]:
        """While active, the user's compiled functions go to `handler`, and nothing is mirrored."""
        with find_steps(handler), mirrored_on_one_device() as notes:
            yield notes

    @contextlib.contextmanager
    def preserve_random_state(self) -> Iterator[None]:
        """On exit, TensorFlow's global random state is what it was on entry."""
        eager = context.context()
        seed, generator = eager._seed, getattr(eager, "_rng", None)  # noqa: SLF001 (tf.random has no getter)
        drawn = generator.getstate() if generator is not None else None
        try:
            yield
        finally:
            eager._seed = seed  # noqa: SLF001
            if generator is not None:
                generator.setstate(drawn)
                eager._rng = generator  # noqa: SLF001
            # Random kernels that were made meanwhile count their draws; without them the user's
            # next draw starts where it would have.
            eager.clear_kernel_cache()


def _as_written(function: Any) -> Callable[..., Any]:
    """The Python function inside a `tf.function`, converted by AutoGraph as it would have been."""
    python: Callable[..., Any] = function.python_function
    if function._autograph:  # noqa: SLF001 (not readable otherwise)
        status = tf.__internal__.autograph.control_status_ctx()
        python = tf.__internal__.autograph.tf_convert(python, status)
    return python
