"""Stands in for a function of someone else's for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replaced(owner: Any, name: str, wrapper: Any) -> Iterator[None]:
    """While active, `owner.name` is `wrapper` of what it was."""
    original = vars(owner)[name]
    setattr(owner, name, wrapper(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
