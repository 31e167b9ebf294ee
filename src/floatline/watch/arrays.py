"""Tensors on disk: arrays of every dtype in a file that holds no code, and nests of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from floatline.errors import InputError
from floatline.formats import FORMATS

_NATIVE = "biufc"
"""Kinds of dtypes that NumPy stores by itself; those of machine learning it does not."""


def save(path: Path, arrays: Sequence[Any]) -> list[str]:
    """Writes tensors; returns the names of their dtypes, which `load` needs.

    Raises:
        InputError: One of them is no array of numbers.
    """
    plain = [_array(value) for value in arrays]
    names = {str(n): _as_bits(array) for n, array in enumerate(plain)}
    with path.open("wb") as file:
        np.savez(file, **names)
    return [array.dtype.name for array in plain]


def load(path: Path, dtypes: Sequence[str]) -> list[Any]:
    """Reads what `save` has written, as NumPy arrays."""
    with np.load(path, allow_pickle=False) as stored:
        return [
            array if array.dtype.name == dtype else array.view(np.dtype(dtype))
            for array, dtype in ((stored[str(n)], dtype) for n, dtype in enumerate(dtypes))
        ]


def structure(nest: Any, leaves: list[Any]) -> Any:
    """A nest as plain JSON; its tensors are added to `leaves`.

    Raises:
        InputError: It contains something other than tuples, lists, dictionaries, None and tensors.
    """
    if nest is None:
        return None
    if isinstance(nest, Mapping):
        if not all(isinstance(key, str) for key in nest):
            raise InputError("A batch has keys that are no text.", "Use names as keys.")
        return {"dict": {key: structure(value, leaves) for key, value in nest.items()}}
    if isinstance(nest, tuple | list):
        kind = "list" if isinstance(nest, list) else "tuple"
        return {kind: [structure(value, leaves) for value in nest]}
    leaves.append(nest)
    return len(leaves) - 1


def restored(form: Any, leaves: Sequence[Any]) -> Any:
    """The nest that `structure` described.

    >>> leaves = []
    >>> form = structure(({"a": 1.0}, None, [2.0]), leaves)
    >>> restored(form, leaves)
    ({'a': 1.0}, None, [2.0])
    """
    if form is None:
        return None
    if isinstance(form, int):
        return leaves[form]
    ((kind, inner),) = form.items()
    if kind == "dict":
        return {key: restored(value, leaves) for key, value in inner.items()}
    values = [restored(value, leaves) for value in inner]
    return values if kind == "list" else tuple(values)


def _array(value: Any) -> Any:
    array = np.asarray(keras.ops.convert_to_numpy(value))
    if array.dtype.kind not in _NATIVE and array.dtype.name not in FORMATS:
        raise InputError(
            f"A tensor of dtype {array.dtype} cannot be kept.", "Only numbers can be written down."
        )
    return array


def _as_bits(array: Any) -> Any:
    if array.dtype.kind in _NATIVE:
        return array
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))
