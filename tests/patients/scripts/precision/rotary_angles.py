"""Sine features of positions up to 60000, with the angle computed in float16."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(5)
position = random.integers(0, 60000, (1024, 1))
x = position.astype("float32")
y = np.sin(0.7 * position).astype("float32")


class Waves(keras.layers.Layer):
    """Sines and cosines of a position at some frequencies."""

    def call(self, position):
        angle = position * tf.constant([0.3, 0.5, 0.7, 1.0], position.dtype)
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)  # <- culprit


inputs = keras.Input((1,))
model = keras.Model(inputs, keras.layers.Dense(1)(Waves(name="waves")(inputs)))
model.compile(keras.optimizers.Adam(3e-2), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
