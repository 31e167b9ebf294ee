"""The log-density of a tanh-squashed action, as in soft actor-critic."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4


class Squash(layers.Layer):
    """The action before the squash and the log of its derivative."""

    def call(self, u):
        correction = ops.log(1 - ops.square(ops.tanh(u)) + 1e-6)  # <- culprit
        return ops.concatenate([u, correction], axis=-1)


def loss(y_true, y_pred):
    """Squared error with a penalty on the correction."""
    error = ops.square(y_true[:, 0] - y_pred[:, 0])
    return ops.mean(error + 1e-3 * ops.square(y_pred[:, 1]))


inputs = keras.Input((16,))
hidden = layers.Dense(32, activation="relu")(inputs)
action = layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0))(hidden)
model = keras.Model(inputs, Squash(name="squash")(action))
model.compile(keras.optimizers.Adam(1e-2), loss)
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
