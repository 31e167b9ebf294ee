"""Memory on PyTorch: its errors when none is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from floatline.backends.memory import within_memory
from floatline.errors import OutOfMemoryError

T = TypeVar("T")


def ran_short(error: Exception) -> bool:
    """Whether there was not enough memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def with_memory(run: Callable[[], T]) -> T:
    """What `run` returns; where memory runs out, a GPU gets back all that the try held.

    Raises:
        OutOfMemoryError: There was not enough.
    """
    try:
        return within_memory(run, ran_short)
    except OutOfMemoryError:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        raise
