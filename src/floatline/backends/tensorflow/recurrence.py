"""Recurrent layers on a GPU, taken out of cuDNN, which runs all time steps as one operation."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any

from floatline.patches import replaced

RNN = importlib.import_module("keras.src.backend.tensorflow.rnn")
"""Where Keras chooses cuDNN, which has no public name; a function hides the module's own."""


def has_closed_recurrence(graph: Any) -> bool:
    """Whether a graph runs a recurrent layer in cuDNN.

    What cuDNN keeps for its backward pass has a form of its own in every dtype, so that a float32
    twin cannot follow.
    """
    return any(operation.type.startswith("CudnnRNN") for operation in graph.get_operations())


def open_recurrence() -> AbstractContextManager[None]:
    """While active, Keras builds recurrent layers out of the operations of each time step."""
    return replaced(RNN, "cudnn_ok", lambda _: lambda *_args, **_kwargs: False)
