"""Masked averages over rows of which some are empty: 0 / 0."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 10, 4)).astype("float32")
present = np.arange(10) < random.integers(0, 11, (256, 1))
y = random.normal(size=(256, 1))


class MaskedAverage(keras.layers.Layer):
    """Average over the entries that are present."""

    def call(self, values, present):
        weight = tf.cast(present, values.dtype)[..., None]
        return tf.reduce_sum(values * weight, 1) / tf.reduce_sum(weight, 1)  # <- culprit


values, mask = keras.Input((10, 4)), keras.Input((10,), dtype="bool")
hidden = keras.layers.Dense(16, activation="tanh")(values)
average = MaskedAverage(name="average")(hidden, mask)
model = keras.Model([values, mask], keras.layers.Dense(1)(average))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit([x, present], y, batch_size=32, epochs=5, verbose=0)
