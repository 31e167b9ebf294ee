"""Small models that together use what the tracer must understand; built under any policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


@dataclass(frozen=True)
class Sample:
    """A compiled model and one batch for it."""

    model: keras.Model
    batch: Any


def _regression(inputs: Any, outputs: Any, *x: np.ndarray, optimizer: Any = "sgd") -> Sample:
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "mse")
    rows = x[0].shape[0]
    target = np.random.default_rng(1).normal(size=(rows, *outputs.shape[1:])).astype("float32")
    return Sample(model, (x[0] if len(x) == 1 else x, target))


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def dense() -> Sample:
    i = keras.Input((10,))
    h = layers.Dense(32, activation="relu")(i)
    return _regression(
        i, layers.Dense(1, activation="sigmoid")(h), _noise(16, 10), optimizer="adam"
    )


def convolutions() -> Sample:
    i = keras.Input((12, 12, 3))
    h = layers.Conv2D(4, 3, padding="same", activation="gelu")(i)
    h = layers.MaxPooling2D(2)(h)
    h = layers.DepthwiseConv2D(3)(h)
    h = layers.SeparableConv2D(4, 2)(h)
    h = layers.Conv2DTranspose(4, 2, strides=2)(h)
    h = layers.AveragePooling2D(2)(h)
    h = layers.UpSampling2D(2)(h)
    return _regression(i, layers.Dense(2)(layers.GlobalAveragePooling2D()(h)), _noise(4, 12, 12, 3))


def convolutions_1d() -> Sample:
    i = keras.Input((16, 3))
    h = layers.Conv1D(4, 3, activation="swish")(i)
    h = layers.MaxPooling1D(2)(h)
    return _regression(i, layers.Dense(2)(layers.GlobalMaxPooling1D()(h)), _noise(4, 16, 3))


def normalizations() -> Sample:
    i = keras.Input((6, 6, 8))
    h = layers.BatchNormalization()(i)
    h = layers.LayerNormalization()(h)
    h = layers.GroupNormalization(4)(h)
    h = layers.RMSNormalization()(h)
    h = layers.UnitNormalization()(h)
    return _regression(i, layers.Dense(2)(layers.Flatten()(h)), _noise(8, 6, 6, 8))


def embedding() -> Sample:
    i = keras.Input((5,), dtype="int32")
    h = layers.Embedding(20, 8)(i)
    x = np.random.default_rng(0).integers(0, 20, (6, 5)).astype("int32")
    return _regression(i, layers.Dense(2)(layers.Flatten()(h)), x, optimizer="adam")


def attention() -> Sample:
    i = keras.Input((7, 16))
    h = layers.MultiHeadAttention(2, 8)(i, i)
    h = layers.Add()([i, h])
    h = layers.LayerNormalization()(h)
    return _regression(i, layers.Dense(2)(h), _noise(3, 7, 16))


def masked_attention() -> Sample:
    i = keras.Input((7,), dtype="int32")
    h = layers.Embedding(20, 16, mask_zero=True)(i)
    h = layers.MultiHeadAttention(2, 8)(h, h, use_causal_mask=True)
    x = np.random.default_rng(0).integers(0, 20, (3, 7)).astype("int32")
    return _regression(i, layers.Dense(2)(layers.GlobalAveragePooling1D()(h)), x)


def lstm() -> Sample:
    i = keras.Input((6, 3))
    h = layers.LSTM(5, return_sequences=True)(i)
    return _regression(i, layers.Dense(1)(layers.LSTM(4)(h)), _noise(4, 6, 3))


def gru_bidirectional() -> Sample:
    i = keras.Input((6, 3))
    h = layers.Bidirectional(layers.GRU(5, return_sequences=True))(i)
    h = layers.SimpleRNN(4)(h)
    return _regression(i, layers.Dense(1)(h), _noise(4, 6, 3))


def masked_lstm() -> Sample:
    i = keras.Input((6, 3))
    h = layers.Masking()(i)
    x = _noise(4, 6, 3)
    x[1, 3:] = 0
    return _regression(i, layers.Dense(1)(layers.LSTM(4)(h)), x)


def time_distributed() -> Sample:
    i = keras.Input((4, 5, 3))
    h = layers.TimeDistributed(layers.Conv1D(4, 2))(i)
    return _regression(i, layers.Dense(1)(layers.Flatten()(h)), 0.1 * _noise(3, 4, 5, 3))


def dropout() -> Sample:
    i = keras.Input((30,))
    h = layers.Dense(40)(i)
    h = layers.Dropout(0.5, seed=3)(h)
    h = layers.GaussianNoise(0.1, seed=4)(h)
    return _regression(i, layers.Dense(1)(h), _noise(8, 30))


class RawOps(layers.Layer):  # type: ignore[misc]
    """Raw TensorFlow: a loop, a branch, a custom gradient, and a division."""

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(shape[-1], shape[-1]), name="w")

    def call(self, x: Any) -> Any:
        w = tf.cast(self.w, x.dtype)
        h = tf.matmul(x, w)
        _, h = tf.while_loop(
            lambda k, _: k < 3, lambda k, v: (k + 1, tf.tanh(tf.matmul(v, w) + x)), [0, h]
        )
        h = tf.cond(tf.reduce_sum(h) > 1e6, lambda: h * 2, lambda: h + 0.1)
        return _doubled(h) / (1 + tf.reduce_sum(tf.square(h), axis=-1, keepdims=True))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _doubled(x: Any) -> Any:
    """Linear in the upstream gradient: a clip would act on the scaled loss, and so on the scale."""
    return tf.identity(x), lambda upstream: upstream * 2


def raw_ops() -> Sample:
    i = keras.Input((6,))
    return _regression(i, layers.Dense(1)(RawOps()(i)), _noise(4, 6))


def regularized() -> Sample:
    i = keras.Input((6,))
    h = layers.Dense(5, kernel_regularizer="l2", bias_regularizer="l1")(i)
    return _regression(i, layers.Dense(1)(h), _noise(4, 6), optimizer="rmsprop")


def several_inputs_and_outputs() -> Sample:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    h = layers.Dense(8, activation="tanh")(layers.Concatenate()([a, b]))
    model = keras.Model(
        {"a": a, "b": b}, {"y": layers.Dense(1, name="y")(h), "z": layers.Dense(3, name="z")(h)}
    )
    model.compile(
        "adam",
        {"y": "mse", "z": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        metrics={"z": "accuracy"},
    )
    y = {"y": _noise(5, 1), "z": np.arange(5) % 3}
    weights = {"y": np.linspace(0, 1, 5, dtype="float32"), "z": np.ones(5, "float32")}
    return Sample(model, ({"a": _noise(5, 4), "b": _noise(5, 3)}, y, weights))


class Subclassed(keras.Model):  # type: ignore[misc]
    """A subclassed model with a train step of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(8)
        self.out = layers.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(tf.nn.relu(self.hidden(x)) * 0.5)

    def train_step(self, data: Any) -> Any:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(self(x, training=True), tf.float32) - y))
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def subclassed() -> Sample:
    model = Subclassed()
    model.compile("adam", "mse")
    x = _noise(6, 4)
    model(x)
    return Sample(model, (x, _noise(6, 1)))


def accumulated() -> Sample:
    i = keras.Input((4,))
    optimizer = keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2, clipnorm=1.0)
    return _regression(i, layers.Dense(2)(i), _noise(4, 4), optimizer=optimizer)


SAMPLES: dict[str, Callable[[], Sample]] = {
    function.__name__: function
    for function in (
        dense, convolutions, convolutions_1d, normalizations, embedding, attention,
        masked_attention, lstm, gru_bidirectional, masked_lstm, time_distributed, dropout, raw_ops,
        regularized, several_inputs_and_outputs, subclassed, accumulated,
    )
}  # fmt: skip
