"""The dtype that a sequential model casts its inputs to follows the layer that reads them.

A `Sequential` without an `Input` makes one when it is built, in the compute dtype of its first
layer, and would go on rounding its inputs to that dtype after that layer has become float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras

from floatline.formats import FORMATS
from floatline.precision.matching import Place


def follow_first_layers(found: Sequence[Place], undoing: contextlib.ExitStack) -> None:
    """Widens the inputs of sequential models whose first layer computes in a wider dtype."""
    for place in found:
        if isinstance(place.layer, keras.Sequential) and place.layer.built:
            _widen(place.layer, undoing)


def _widen(model: Any, undoing: contextlib.ExitStack) -> None:
    entry = model._layers[0]  # noqa: SLF001 (the only way to the input layer, which is hidden)
    if not isinstance(entry, keras.layers.InputLayer) or not model.layers:
        return
    wanted = str(model.layers[0].compute_dtype)
    if _bits(wanted) > _bits(str(entry.dtype)) > 0:
        # Keras calls the dtype of a symbolic tensor immutable, for graphs in the making.
        for holder in (entry, entry.output):
            undoing.callback(setattr, holder, "_dtype", holder._dtype)  # noqa: SLF001
            holder._dtype = wanted  # noqa: SLF001


def _bits(dtype: str) -> int:
    return FORMATS[dtype].bits if dtype in FORMATS else 0
