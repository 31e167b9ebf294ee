"""Log-power of a weak signal: squares of 1e-5 are 0 in float16, and so is the epsilon 1e-10."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(4)
level = 10 ** random.uniform(-5, -2, (512, 1))
x = (level * random.normal(size=(512, 40))).astype("float32")
y = np.log10(level).astype("float32")


class LogPower(keras.layers.Layer):
    """The logarithm of the power of every band."""

    def call(self, signal):
        return tf.math.log(tf.square(signal) + 1e-10)  # <- culprit


inputs = keras.Input((40,))
hidden = keras.layers.Dense(32, activation="relu")(LogPower(name="log_power")(inputs))
model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
