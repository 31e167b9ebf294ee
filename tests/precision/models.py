"""Small models of every kind that Keras knows, and what tests compare of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

layers = keras.layers
Array = np.ndarray[Any, Any]


def functional() -> Any:
    """Attention, normalization and a wrapped recurrent layer in a graph."""
    inputs = keras.Input((6, 4))
    # With dropout attention takes the path that every backend has on every device.
    attention = layers.MultiHeadAttention(2, 2, dropout=0.1, name="attention")
    x = layers.LayerNormalization(name="norm")(attention(inputs, inputs))
    x = layers.Bidirectional(layers.LSTM(3, name="lstm"), name="both")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="functional")


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.TimeDistributed(layers.Dense(3, name="inner"), name="each"),
            layers.RNN(layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(2)]), name="rnn"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(2, name="head"),
        ],
        name="sequential",
    )


def nested() -> Any:
    inputs = keras.Input((6, 4))
    inner = keras.Sequential([keras.Input((6, 4)), layers.Dense(3, name="a")], name="inner")
    x = layers.GlobalAveragePooling1D(name="pool")(inner(inputs))
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="nested")


@keras.saving.register_keras_serializable(package="floatline_tests")
class Subclassed(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    """Layers in a list, in a dict, and an operation of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(3, name="first"), layers.Dense(3, name="second")]
        self.heads = {"main": layers.Dense(2, name="main")}
        self.pool = layers.GlobalAveragePooling1D(name="pool")

    def call(self, inputs: Any) -> Any:
        x = inputs
        for block in self.blocks:
            x = keras.ops.tanh(block(x))
        return self.heads["main"](self.pool(x))


def subclassed() -> Any:
    model = Subclassed(name="subclassed")
    model(keras.Input((6, 4)))  # Builds every layer.
    return model


KINDS = (functional, sequential, nested, subclassed)


def data(rows: int = 8) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 6, 4)).astype("float32")
    return x, generator.normal(size=(rows, 2)).astype("float32")


def value(variable: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(variable.value))


def bits(variables: Any) -> list[tuple[str, bytes]]:
    """Dtype and every bit of each variable."""
    return [(str(v.dtype), value(v).tobytes()) for v in variables]


def policies(model: Any) -> list[str]:
    return [layer.dtype_policy.name for layer in model._flatten_layers()]


def compute_dtypes(model: Any) -> set[str]:
    """What the layers of a model compute in; inputs compute nothing."""
    flat = model._flatten_layers(include_self=False)
    return {layer.compute_dtype for layer in flat if not isinstance(layer, layers.InputLayer)}


def rounded(x: Array, dtype: str) -> Array:
    """The values as a format holds them."""
    low = keras.ops.cast(keras.ops.convert_to_tensor(x), dtype)
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(low, "float32")))
