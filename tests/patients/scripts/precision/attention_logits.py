"""Attention scores of large queries and keys, divided by the root of the head size too late."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(3)
x = random.normal(size=(256, 16, 32)).astype("float32")
y = x[:, 0, :1]


class SelfAttention(layers.Layer):
    """One head of size 64."""

    def __init__(self, units=64, **kwargs):
        super().__init__(**kwargs)
        wide = keras.initializers.RandomNormal(stddev=8.0)
        self.query = layers.Dense(units, kernel_initializer=wide)
        self.key = layers.Dense(units, kernel_initializer=wide)
        self.value = layers.Dense(units)

    def call(self, inputs):
        query, key = self.query(inputs), self.key(inputs)
        scores = ops.einsum("bqd,bkd->bqk", query, key) / 8  # <- culprit
        return ops.matmul(ops.softmax(scores), self.value(inputs))


inputs = keras.Input((16, 32))
hidden = layers.GlobalAveragePooling1D()(SelfAttention(name="attention")(inputs))
model = keras.Model(inputs, layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(1e-3), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
