"""Small models and data that the tests of the watch share."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from floatline.scaling.optimizer import LossScaleOptimizer

BACKEND = keras.backend.backend()
BATCH = 16


def data(batches: int = 10, *, spoiled: int | None = None) -> tuple[Any, Any]:
    """Rows for so many batches; with `spoiled`, one value of that batch is NaN."""
    random = np.random.default_rng(7)
    x = random.normal(size=(batches * BATCH, 8)).astype("float32")
    y = (x[:, :1] - x[:, 1:2]).astype("float32")
    if spoiled is not None:
        x[spoiled * BATCH, 0] = np.nan
    return x, y


def model(policy: str = "float32", *, factor: float = 1.0, optimizer: Any = None) -> keras.Model:
    """Layers with seeds and statistics of their own; activations are multiplied by `factor`."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="relu", dtype=policy)(inputs)
    x = layers.Rescaling(factor, dtype=policy)(x)
    x = layers.BatchNormalization(dtype=policy)(x)
    x = layers.Dropout(0.25, dtype=policy)(x)
    made = keras.Model(inputs, layers.Dense(1, dtype="float32")(x))
    optimizer = optimizer or keras.optimizers.Adam(1e-2)
    if policy == "mixed_float16":
        optimizer = LossScaleOptimizer(optimizer)
    made.compile(optimizer, "mse", metrics=["mae"], auto_scale_loss=False)
    return made


def fit(trained: keras.Model, x: Any, y: Any, *callbacks: Any, epochs: int = 3) -> Any:
    """Trains with batches in order; PyTorch's Dropout draws from a generator of everybody's."""
    keras.utils.set_random_seed(9)
    return trained.fit(
        x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def everything(trained: keras.Model) -> list[Any]:
    """The values of all variables, those of the optimizer and of seeds among them."""
    variables = [*trained.variables, *trained.optimizer.variables, *trained.metrics_variables]
    return [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]


def same(one: list[Any], other: list[Any]) -> bool:
    """Whether two states are equal bit for bit; the bits of a NaN mean nothing."""
    return len(one) == len(other) and all(
        a.dtype == b.dtype and _canonical(a).tobytes() == _canonical(b).tobytes()
        for a, b in zip(one, other, strict=True)
    )


def _canonical(values: Any) -> Any:
    return np.where(values == values, values, np.nan).astype(values.dtype)
