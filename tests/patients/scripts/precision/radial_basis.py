"""Brightness at pixel coordinates from a radial basis network."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(27)
keras.config.set_dtype_policy("mixed_float16")


class RadialBasis(layers.Layer):
    """Bumps around learned centres."""

    def build(self, shape):
        spread = keras.initializers.RandomUniform(0.0, 1500.0)
        self.centres = self.add_weight(shape=(64, shape[-1]), initializer=spread)

    def call(self, points):
        offset = points[:, None, :] - self.centres
        return ops.exp(-ops.sum(ops.square(offset), axis=-1) / 300000.0)  # <- culprit


rng = np.random.default_rng(27)
points = rng.uniform(0, 1500, (1024, 2)).astype("float32")
brightness = np.sin(points[:, :1] / 300) * np.cos(points[:, 1:] / 300)
model = keras.Sequential([layers.Input((2,)), RadialBasis(name="bumps"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(3e-2), "mse")
history = model.fit(points, brightness, batch_size=64, epochs=15, verbose=2)
