"""The spread of a row as a feature: the variance of values up to 3000 overflows."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
spread = random.uniform(0, 1000, (256, 1))
x = (random.normal(size=(256, 64)) * spread).astype("float32")
y = (spread / 1000).astype("float32")


class Spread(layers.Layer):
    """Standard deviation of each row, in thousands."""

    def call(self, t):
        return ops.sqrt(ops.var(t, axis=1, keepdims=True) + 1e-3) / 1000  # <- culprit


model = keras.Sequential([keras.Input((64,)), Spread(name="spread"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(3e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
