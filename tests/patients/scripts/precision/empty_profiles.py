"""Rows brought to unit length, some empty: the root of an epsilon that is 0 in float16."""

import keras
import numpy as np
from keras import ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = np.sign(x @ random.normal(size=(16, 1))).astype("float32")
x[::4] = 0


class Unit(keras.layers.Layer):
    """Divides rows by their length; another epsilon keeps empty ones from dividing by 0."""

    def call(self, rows):
        squares = ops.sum(ops.square(rows), axis=-1, keepdims=True)
        return rows / (ops.sqrt(squares + 1e-12) + 1e-3)  # <- culprit


inputs = keras.Input((16,))
rows = Unit(name="unit")(keras.layers.Dense(16, use_bias=False)(inputs))
model = keras.Model(inputs, keras.layers.Dense(1)(rows))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
