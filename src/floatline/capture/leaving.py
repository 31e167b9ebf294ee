"""What a script is kept from while it is left: a `finally` of its own may save the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from floatline.patches import wrapped

_SAVING = ("save", "save_weights", "export")


@contextlib.contextmanager
def saving_nothing(left: Callable[[], bool]) -> Iterator[None]:
    """While active, a Keras model is not saved once the script is being left.

    Its training has not been finished, and the file may hold what a finished one has learnt.

    Args:
        left: Whether the script is being left.

    Example:

    >>> with saving_nothing(lambda: True):
    ...     keras.Sequential().save("/no/such/folder/model.keras")
    """

    def save(original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        return None if left() else original(model, *args, **kwargs)

    with contextlib.ExitStack() as stack:
        for name in _SAVING:
            stack.enter_context(wrapped(keras.Model, name, save))
        yield
