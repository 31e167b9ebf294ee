"""Stands in for functions of Keras and PyTorch for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def replaced(
    owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """While active, `owner.name` is `wrapper` of what it was."""
    original = vars(owner)[name]
    setattr(owner, name, wrapper(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def defining(kind: type, name: str) -> type:
    """The class from which `kind` has its method `name`."""
    return next(base for base in kind.__mro__ if name in vars(base))
