"""Stopping distances from polynomial features of the speed."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(13)
keras.config.set_dtype_policy("mixed_float16")


class Polynomial(layers.Layer):
    """Powers one to three."""

    def call(self, x):
        return ops.concatenate([x, ops.power(x, 2), ops.power(x, 3)], axis=-1)  # <- culprit


rng = np.random.default_rng(13)
speed = rng.uniform(5, 60, (512, 1)).astype("float32")
grip = rng.uniform(0.4, 0.9, (512, 1)).astype("float32")
distance = (speed**2 / (20 * grip)) / 100

speed_input, grip_input = keras.Input((1,)), keras.Input((1,))
x = layers.Concatenate()([Polynomial(name="polynomial")(speed_input), grip_input])
x = layers.BatchNormalization()(x)
x = layers.Dense(32, activation="relu")(x)
model = keras.Model([speed_input, grip_input], layers.Dense(1)(x))
model.compile(keras.optimizers.Adam(1e-2), "mse")
history = model.fit([speed, grip], distance, batch_size=32, epochs=6, verbose=2)
