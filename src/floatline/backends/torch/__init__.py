"""PyTorch behind the seam: the step runs again with a shadow beside every operation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, final

import keras
import torch

from floatline.backends.batches import of_one_batch
from floatline.backends.interface import Batch, CallHandler, LayerSource, Notes
from floatline.backends.torch.discovery import find_steps
from floatline.backends.torch.intercept import intercept
from floatline.backends.torch.state import put_random_state, random_state
from floatline.backends.torch.step import TorchStep


@final
class TorchBackend:
    """The PyTorch backend of Keras."""

    name = "torch"

    def framework(self) -> str:
        """Name and version of the framework."""
        return f"PyTorch {torch.__version__}"

    def device(self) -> str:
        """The device that training runs on, in words."""
        device = torch.get_default_device()
        if torch.cuda.is_available() and device.type in ("cpu", "cuda"):
            return f"GPU:{torch.cuda.current_device()} ({torch.cuda.get_device_name()})"
        return str(device.type).upper()

    def free_bytes(self) -> int | None:
        """Memory that the device has left; None on a CPU."""
        if not torch.cuda.is_available():
            return None
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0] + unused)

    def keras_step(self, model: keras.Model, layer_source: LayerSource) -> TorchStep:
        """The training step of a compiled Keras model."""
        return TorchStep(model.train_step, owner=model, roots=[model], layer_source=layer_source)

    def function_step(self, function: Callable[..., Any], layer_source: LayerSource) -> TorchStep:
        """The training step that a user wrote as a function of one batch."""
        return TorchStep(
            of_one_batch(function), owner=None, roots=[function], layer_source=layer_source
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
        """On exit, PyTorch's global random state is what it was on entry."""
        before = random_state()
        try:
            yield
        finally:
            put_random_state(before)
