"""Finds the operations of training that belong to the framework under Keras."""

from __future__ import annotations

import importlib
from typing import Any

import keras

from floatline.errors import BackendError

SUPPORTED = ("tensorflow", "jax", "torch")


def load(part: str, purpose: str) -> Any:
    """The `KERNELS` of a part of the backend that Keras has chosen.

    Args:
        part: Module of the backend's folder.
        purpose: What they are for, as the subject of a sentence.

    Raises:
        BackendError: Keras runs on another backend.
    """
    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise BackendError(
            f"{purpose} received the Keras backend {name!r}.",
            f"It runs on {', '.join(SUPPORTED)}: set KERAS_BACKEND to one of them.",
        )
    return importlib.import_module(f"floatline.backends.{name}.{part}").KERNELS
