"""Finds the operations of loss scaling that belong to the framework under Keras."""

from __future__ import annotations

import importlib

import keras

from floatline.backends.scaling_interface import ScalingKernels
from floatline.errors import BackendError

SUPPORTED = ("tensorflow", "jax", "torch")


def load_kernels() -> ScalingKernels:
    """The kernels of the backend that Keras has chosen.

    Raises:
        BackendError: Keras runs on another backend.
    """
    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise BackendError(
            f"Loss scaling received the Keras backend {name!r}.",
            f"It runs on {', '.join(SUPPORTED)}: set KERAS_BACKEND to one of them.",
        )
    kernels: ScalingKernels = importlib.import_module(f"floatline.backends.{name}.scaling").KERNELS
    return kernels
