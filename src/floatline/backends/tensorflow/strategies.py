"""Runs a script on one device that would mirror its model over several, as a trace needs it.

What overflows on a replica overflows there as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from floatline.backends.interface import Notes
from floatline.patches import replaced

NOTE = (
    "tf.distribute.MirroredStrategy was left out: the script was watched on one device, with the"
    " whole batch."
)


@contextlib.contextmanager
def mirrored_on_one_device() -> Iterator[Notes]:
    """While active, a new `MirroredStrategy` is TensorFlow's default strategy, on one device.

    Example:

    >>> with mirrored_on_one_device() as notes:
    ...     strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    >>> strategy is tf.distribute.get_strategy(), len(notes())
    (True, 1)
    """
    left_out: list[str] = []

    def stand_in(original: Any) -> Any:
        class Kind(type):
            def __instancecheck__(cls, instance: Any) -> bool:
                return isinstance(instance, original)

            def __call__(cls, *args: Any, **kwargs: Any) -> Any:
                del args, kwargs
                left_out[:] = [NOTE]
                return tf.distribute.get_strategy()

        return Kind(original.__name__, (), {"__doc__": original.__doc__})

    with replaced(tf.distribute, "MirroredStrategy", stand_in):
        yield lambda: tuple(left_out)
