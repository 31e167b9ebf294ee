"""A softplus written as log(1 + exp(2 t)): the exponential overflows."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4


class Softplus(layers.Layer):
    """A smooth relu."""

    def call(self, t):
        return ops.log(1 + ops.exp(2 * t))  # <- culprit


wide = keras.initializers.RandomNormal(stddev=1.5)
inputs = keras.Input((16,))
hidden = Softplus(name="softplus")(layers.Dense(32, kernel_initializer=wide)(inputs))
model = keras.Model(inputs, layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(1e-2), "mse")


def batches():
    """The rows in order, again and again."""
    while True:
        for start in range(0, 512, 32):
            yield x[start : start + 32], y[start : start + 32]


model.fit(batches(), steps_per_epoch=16, epochs=15, verbose=0)
