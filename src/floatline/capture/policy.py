"""Keras' global dtype policy, set for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def under_policy(name: str | None) -> Iterator[None]:
    """Sets the global policy; on exit it is what it was, whatever has been set meanwhile.

    Args:
        name: A policy of Keras', or None for the one that is set.

    Raises:
        ValueError: Keras has no policy of this name.
        TypeError: It is no name.

    Example:

    >>> import keras
    >>> with under_policy("mixed_bfloat16"):
    ...     keras.config.dtype_policy().name
    'mixed_bfloat16'
    """
    import keras  # A script is to choose the backend first.

    before = keras.config.dtype_policy()
    try:
        if name is not None:
            keras.config.set_dtype_policy(name)
        yield
    finally:
        keras.config.set_dtype_policy(before)
