"""The root of a sum of squares that is exactly 0: its gradient is infinite in any precision."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
x[::4] = 0
y = np.abs(x).mean(axis=1, keepdims=True)


class Length(layers.Layer):
    """Euclidean length of each row."""

    def call(self, t):
        return ops.sqrt(ops.sum(ops.square(t), axis=-1, keepdims=True))  # <- culprit


inputs = keras.Input((16,))
hidden = Length(name="length")(layers.Dense(16, use_bias=False)(inputs))
model = keras.Model(inputs, layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=5, verbose=0)
