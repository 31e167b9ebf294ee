"""Finds the operations of a watch that belong to the framework under Keras."""

from __future__ import annotations

import importlib

import keras

from floatline.backends.watch_interface import WatchKernels
from floatline.errors import BackendError

SUPPORTED = ("tensorflow", "jax", "torch")


def load_watch() -> WatchKernels:
    """The kernels of the backend that Keras has chosen.

    Raises:
        BackendError: Keras runs on another backend.
    """
    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise BackendError(
            f"A watch was asked for on the Keras backend {name!r}.",
            f"It runs on {', '.join(SUPPORTED)}: set KERAS_BACKEND to one of them.",
        )
    kernels: WatchKernels = importlib.import_module(f"floatline.backends.{name}.watch").KERNELS
    return kernels
