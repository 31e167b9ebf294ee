"""Finds the training step of a loop that was written by hand and carries no mark."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from floatline.backends.interface import CallHandler


@contextlib.contextmanager
def find_steps(handler: CallHandler) -> Iterator[None]:
    """PyTorch compiles no step, so there is no call to be found: a step needs its mark."""
    del handler
    yield
