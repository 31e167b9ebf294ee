"""Changes the dtype of variables in place: the same object in every list that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np


def own_variables(layer: Any) -> list[Any]:
    """The variables that the layer itself made, without those of its sublayers."""
    inside = {id(v) for child in _sublayers(layer) for v in child.variables}
    return [v for v in layer.variables if id(v) not in inside]


def convert(variable: Any, dtype: str) -> Callable[[], None]:
    """Changes a variable's dtype; its value is rounded if the new dtype is narrower.

    Args:
        variable: A Keras variable of the model or of an optimizer.
        dtype: Name of a float dtype.

    Returns:
        A function that changes it back. A value that nothing has changed meanwhile comes back bit
        for bit; a changed one is cast.
    """
    before_dtype, before = str(variable.dtype), _bits(variable)
    _set(variable, dtype, before)
    converted = _bits(variable)

    def back() -> None:
        now = _bits(variable)
        untouched = now.tobytes() == converted.tobytes()
        _set(variable, before_dtype, before if untouched else now)

    return back


def slots_of(optimizer: Any, variables: Iterable[Any]) -> list[Any]:
    """The optimizer's variables that were made after the likeness of some of the model's.

    Keras names them after the path of the variable they belong to.
    """
    if optimizer is None:
        return []
    shapes = {f"{v.path.replace('/', '_')}_": tuple(v.shape) for v in variables}
    return [
        slot
        for slot in optimizer.variables
        if any(
            slot.name.startswith(prefix) and tuple(slot.shape) == shape
            for prefix, shape in shapes.items()
        )
    ]


def _sublayers(layer: Any) -> list[Any]:
    flat: list[Any] = layer._flatten_layers(include_self=False)  # noqa: SLF001 (as in layers.py)
    return flat


def _bits(variable: Any) -> np.ndarray[Any, Any]:
    return np.array(keras.ops.convert_to_numpy(variable.value))


def _set(variable: Any, dtype: str, value: np.ndarray[Any, Any]) -> None:
    # Keras has no public way to change a variable's dtype, and a new variable would be another
    # object than the one that optimizers, trackers and the user hold.
    variable._dtype = dtype  # noqa: SLF001
    cast = keras.ops.cast(keras.ops.convert_to_tensor(value), dtype)
    if keras.backend.backend() == "torch":
        # The module's own list of parameters holds this very object.
        variable._value.data = cast  # noqa: SLF001
        variable._value.grad = None  # noqa: SLF001
    else:
        variable._initialize(cast)  # noqa: SLF001
