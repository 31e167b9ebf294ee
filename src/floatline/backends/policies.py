"""Layers under another dtype policy for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import keras


@contextlib.contextmanager
def in_float32(layers: Iterable[keras.Layer]) -> Iterator[None]:
    """While active, the layers follow the float32 policy.

    The attribute is set behind Keras' back, because its setter would write into a policy map that
    layers share, and rebuild quantized layers.
    """
    policy = keras.DTypePolicy("float32")
    before = [(layer, layer._dtype_policy) for layer in layers]  # noqa: SLF001 (see above)
    try:
        for layer, _ in before:
            layer._dtype_policy = policy  # noqa: SLF001
        yield
    finally:
        for layer, kept in before:
            layer._dtype_policy = kept  # noqa: SLF001
