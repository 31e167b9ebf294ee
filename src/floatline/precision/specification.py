"""Symbolic inputs of a model: from a batch, from its graph, or from how it was built."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

NOT_BUILT = (
    "The model is not built, so layers are described by their policies alone: build it, call it "
    "once, or pass its inputs as `x`."
)
UNKNOWN = (
    "The model's inputs are not known, so the dtypes that layers see were not measured: pass its "
    "inputs as `x`."
)
OPEN = "A dimension that the model leaves open is counted as 1: pass inputs as `x` to count it."


def specification(model: Any, x: Any, batch_size: int) -> tuple[Any | None, tuple[str, ...]]:
    """The nest of `keras.KerasTensor` that the model takes, and notes on it.

    Args:
        model: A Keras model.
        x: Inputs for it, or None.
        batch_size: The size of the first dimension.

    Returns:
        None in place of the nest when it cannot be known.
    """
    if not model.built:
        return None, (NOT_BUILT,)
    if x is not None:
        return keras.tree.map_structure(lambda leaf: _of_value(leaf, batch_size), x), ()
    inputs = _graph_inputs(model)
    if inputs is None:
        shape = _built_shape(model)
        if shape is None:
            return None, (UNKNOWN,)
        inputs = keras.KerasTensor(shape, dtype=keras.config.floatx())
    leaves = keras.tree.flatten(inputs)
    notes = (OPEN,) if any(None in leaf.shape[1:] for leaf in leaves) else ()
    return keras.tree.map_structure(lambda leaf: _closed(leaf, batch_size), inputs), notes


def _of_value(leaf: Any, batch_size: int) -> Any:
    value = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)
    dtype = keras.backend.standardize_dtype(value.dtype)
    if dtype == "float64":  # Keras casts it on the way in.
        dtype = keras.config.floatx()
    return keras.KerasTensor((batch_size, *value.shape[1:]), dtype=dtype)


def _graph_inputs(model: Any) -> Any:
    if isinstance(model, keras.Sequential):
        return model.inputs[0] if getattr(model, "_functional", None) is not None else None
    return model.input if hasattr(model, "_inputs_struct") else None


def _built_shape(model: Any) -> tuple[int | None, ...] | None:
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    plain = isinstance(shape, list | tuple) and all(
        dim is None or isinstance(dim, int) for dim in shape
    )
    return tuple(shape) if plain and shape else None


def _closed(tensor: Any, batch_size: int) -> Any:
    rest = [1 if dim is None else dim for dim in tensor.shape[1:]]
    return keras.KerasTensor((batch_size, *rest), dtype=tensor.dtype)
