"""How exactly a GPU multiplies in a traced step: in float32, as its shadow values are called.

TensorFlow has GPUs round the factors of float32 products to the 11 significant bits of TF32, which
are those of float16: a shadow would lose the very digits whose loss it is there to show.

Source: https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """While active, products of float32 values keep float32's digits; the setting then returns.

    Example:

    >>> with exact_products():
    ...     tf.config.experimental.tensor_float_32_execution_enabled()
    False
    """
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(allowed)
