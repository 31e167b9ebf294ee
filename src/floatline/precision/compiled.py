"""Functions that Keras compiled for the old dtypes: forgotten, so that they are built anew."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras

from floatline.precision.matching import Place

_FUNCTIONS = ("train_function", "test_function", "predict_function")


def forget_functions(found: Sequence[Place], undoing: contextlib.ExitStack) -> None:
    """Drops the compiled functions of every model among the places, now and when it is undone."""
    models = [place.layer for place in found if isinstance(place.layer, keras.Model)]
    for model in models:
        _forget(model)
        undoing.callback(_forget, model)


def _forget(model: Any) -> None:
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # In the middle of `fit` JAX keeps the weights outside of the model.
    for name in _FUNCTIONS:
        setattr(model, name, None)
