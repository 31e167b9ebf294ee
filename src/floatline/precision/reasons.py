"""Why something in a layer stays float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from floatline.formats import LOW_FORMATS

# Seen in the sources of Keras 3.15.1, folders keras/src/layers/normalization and core of
# https://github.com/keras-team/keras/tree/v3.15.1
_UPCASTING: tuple[tuple[str, str], ...] = (
    ("BatchNormalization", "computes in float32 inside and casts the result"),
    ("LayerNormalization", "computes in float32 inside and casts the result"),
    ("RMSNormalization", "computes in float32 inside and casts the result"),
    ("GroupNormalization", "computes in float32 inside and casts the result"),
    ("Embedding", "looks rows up in the float32 table and casts the rows"),
)


def why_float32(layer: Any, uncast: Sequence[Any]) -> str | None:
    """The reason in words, or None when nothing stays float32.

    Args:
        layer: A layer that computes on floats.
        uncast: Its own weights that a forward pass reads as they are kept.
    """
    if layer.compute_dtype == "float32":
        return f"its policy is {layer.dtype_policy.name}"
    if layer.compute_dtype not in LOW_FORMATS:
        return None
    for name, reason in _UPCASTING:
        if isinstance(layer, getattr(keras.layers, name)):
            return reason
    if any(str(variable.dtype) == "float32" for variable in uncast):
        return "reads weights that are not cast (autocast=False)"
    return None
