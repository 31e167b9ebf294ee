"""TensorFlow's own search for NaN and infinity, which would stop a step before it is seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tensorflow.python.eager import context
from tensorflow.python.framework import op_callbacks


@contextlib.contextmanager
def no_checks() -> Iterator[None]:
    """While active, nothing that the user has asked for runs beside every operation.

    `tf.debugging.enable_check_numerics` ends a step at its first value that is not finite, and
    would do so for every step that a loss scale skips, and for what is measured here.

    Example:

    >>> import tensorflow as tf
    >>> tf.debugging.enable_check_numerics()
    >>> with no_checks():
    ...     float(tf.math.log(-1.0))
    nan
    >>> tf.debugging.disable_check_numerics()
    """
    asked = list(context.context().op_callbacks)
    for callback in asked:
        op_callbacks.remove_op_callback(callback)
    try:
        yield
    finally:
        for callback in asked:
            op_callbacks.add_op_callback(callback)


def checks_note() -> tuple[str, ...]:
    """What a reader must know where the user has asked for TensorFlow's search."""
    if not context.context().op_callbacks:
        return ()
    return ("tf.debugging's checks of every operation are off in the steps that are watched.",)
