"""Bidirectional LSTM with attention pooling written out as exponentials over their sum."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(9)
keras.config.set_dtype_policy("mixed_float16")


class AttentionPooling(layers.Layer):
    """Average of the steps, weighted by how much they matter."""

    def build(self, shape):
        self.query = self.add_weight(shape=(shape[-1], 1), initializer="random_normal")
        self.sharpness = self.add_weight(shape=(), initializer=keras.initializers.Constant(40.0))

    def call(self, steps):
        weights = ops.exp(self.sharpness * ops.matmul(ops.tanh(steps), self.query))  # <- culprit
        return ops.sum(weights * steps, axis=1) / ops.sum(weights, axis=1)


rng = np.random.default_rng(9)
signals = rng.normal(size=(256, 20, 4)).astype("float32")
peaks = signals.max(axis=(1, 2), keepdims=True)[:, 0]

model = keras.Sequential(
    [
        layers.Input((20, 4)),
        layers.Dense(64, activation="relu", kernel_initializer="he_normal"),
        layers.Bidirectional(layers.LSTM(32, return_sequences=True)),
        layers.Dense(128),
        layers.LayerNormalization(),
        AttentionPooling(name="pooling"),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(3e-3), "mse")
history = model.fit(signals, peaks, batch_size=32, epochs=6, verbose=2)
