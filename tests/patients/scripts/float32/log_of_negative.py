"""The logarithm of an output that may be negative."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = np.exp(x[:, :1])


class LogError(keras.layers.Layer):
    """Logarithm of the prediction."""

    def call(self, predicted):
        return tf.math.log(predicted)  # <- culprit


inputs = keras.Input((16,))
predicted = keras.layers.Dense(1)(keras.layers.Dense(32, activation="relu")(inputs))
model = keras.Model(inputs, LogError(name="log")(predicted))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, np.log(y), batch_size=32, epochs=5, verbose=0)
