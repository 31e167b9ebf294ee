"""Texture features: a Gram matrix over all pixels, divided by their number afterwards."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.uniform(0, 12, (64, 64, 64, 3)).astype("float32")
y = np.arange(64) % 2
x[y == 1, ..., 1] = x[y == 1, ..., 0]


class Gram(layers.Layer):
    """Products of all pairs of channels, averaged over the image."""

    def call(self, t):
        product = ops.matmul(ops.transpose(t, (0, 2, 1)), t)  # <- culprit
        return product / 3844


inputs = keras.Input((64, 64, 3))
hidden = layers.Conv2D(8, 3, activation="relu")(inputs)
hidden = Gram(name="gram")(layers.Reshape((3844, 8))(hidden))
hidden = layers.BatchNormalization()(layers.Flatten()(hidden))
model = keras.Model(inputs, layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y.astype("float32"), batch_size=16, epochs=10, verbose=0)
