"""Small Keras models that every backend must understand; no framework is named."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

RATE = 2.0**-3
"""Learning rate: a power of two, so that dividing by it rounds nothing."""

Sample = tuple[keras.Model, tuple[np.ndarray, np.ndarray]]
"""A compiled model and one batch for it."""


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """While active, Keras builds layers under this policy, and names them from the start."""
    before = keras.config.dtype_policy()
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def regression(inputs: Any, outputs: Any, x: np.ndarray) -> Sample:
    """A model on the way to random targets, by plain gradient descent.

    What a weight loses in one step tells its gradient: an independent way to read it.
    """
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(RATE), "mse")
    target = np.random.default_rng(1).normal(size=(len(x), *outputs.shape[1:])).astype("float32")
    return model, (x, target)


def dense() -> Sample:
    i = keras.Input((10,))
    h = layers.Dense(32, activation="relu", name="hidden")(i)
    return regression(i, layers.Dense(1, activation="sigmoid", name="out")(h), noise(16, 10))


def convolution() -> Sample:
    i = keras.Input((8, 8, 3))
    h = layers.Conv2D(4, 3, padding="same", activation="gelu")(i)
    h = layers.DepthwiseConv2D(3)(layers.MaxPooling2D(2)(h))
    return regression(i, layers.Dense(2)(layers.GlobalAveragePooling2D()(h)), noise(4, 8, 8, 3))


def normalization() -> Sample:
    i = keras.Input((6, 8))
    h = layers.LayerNormalization()(layers.BatchNormalization()(i))
    return regression(i, layers.Dense(2)(layers.Flatten()(h)), noise(8, 6, 8))


def embedding() -> Sample:
    i = keras.Input((5,), dtype="int32")
    h = layers.Flatten()(layers.Embedding(20, 8)(i))
    x = np.random.default_rng(0).integers(0, 20, (6, 5)).astype("int32")
    return regression(i, layers.Dense(2)(h), x)


def recurrent() -> Sample:
    i = keras.Input((6, 3))
    return regression(i, layers.Dense(1)(layers.LSTM(5)(i)), noise(4, 6, 3))


def dropout() -> Sample:
    i = keras.Input((16,))
    h = layers.Dropout(0.5, seed=3)(layers.Dense(16)(i))
    return regression(i, layers.Dense(1)(h), noise(8, 16))


SAMPLES: dict[str, Callable[[], Sample]] = {
    make.__name__: make
    for make in (dense, convolution, normalization, embedding, recurrent, dropout)
}
