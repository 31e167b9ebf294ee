"""The difference of two times near 25000: float16 keeps none of its digits."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
start = random.uniform(20000, 30000, 1024)
duration = random.uniform(0, 7, 1024)
x = np.stack([start, start + duration], axis=1).astype("float32")
y = (duration / 8).astype("float32")[:, None]


class Duration(layers.Layer):
    """How long it took."""

    def call(self, times):
        return times[:, 1:] - times[:, :1]  # <- culprit


model = keras.Sequential([keras.Input((2,)), Duration(name="duration"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=20, verbose=0)
