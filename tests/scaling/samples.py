"""Small models, variables and loops that the tests of loss scaling share."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

BACKEND = keras.backend.backend()
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="concerns TensorFlow")
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="concerns JAX")
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="concerns PyTorch")
not_torch = pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on PyTorch")
not_jax = pytest.mark.skipif(BACKEND == "jax", reason="Keras' own class cannot run here on JAX")


def tensor(values: Any, dtype: str = "float32") -> Any:
    return ops.convert_to_tensor(np.asarray(values, dtype))


def variable(values: Any) -> keras.Variable:
    return keras.Variable(np.asarray(values, "float32"))


def array(value: Any) -> np.ndarray[Any, Any]:
    value = value.value if isinstance(value, keras.Variable) else value
    return np.array(ops.convert_to_numpy(value))


def apply(optimizer: Any, gradients: Any, variables: Any) -> None:
    """Applies gradients of a scaled loss; the loss itself is of no interest here."""
    optimizer.scale_loss(tensor(1.0))
    optimizer.apply([tensor(gradient) for gradient in gradients], variables)


def data(rows: int = 32, features: int = 8) -> tuple[Any, Any]:
    random = np.random.default_rng(7)
    x = random.normal(size=(rows, features)).astype("float32")
    return x, (x[:, :1] - x[:, 1:2]).astype("float32")


def small_model(policy: str = "mixed_float16", *, factor: float | None = None) -> keras.Model:
    """Dense, BatchNormalization, Dense; with `factor`, activations are multiplied by it."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu", dtype=policy)(inputs)
    if factor is not None:
        hidden = keras.layers.Rescaling(factor, dtype=policy)(hidden)
    hidden = keras.layers.BatchNormalization(dtype=policy)(hidden)
    outputs = keras.layers.Dense(1, dtype="float32")(hidden)
    return keras.Model(inputs, outputs)
