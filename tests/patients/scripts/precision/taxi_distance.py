"""Taxi fares from the coordinates of the ride's two ends."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(28)
keras.config.set_dtype_policy("mixed_float16")


class RideLength(layers.Layer):
    """Length of the ride in kilometres, on a locally flat earth."""

    def call(self, ends):
        start, end = ends[:, :2], ends[:, 2:]
        north = 111.0 * (end[:, :1] - start[:, :1])  # <- culprit
        east = 67.0 * (end[:, 1:] - start[:, 1:])  # <- culprit
        return ops.sqrt(north * north + east * east + 1e-2)


rng = np.random.default_rng(28)
start = rng.normal(size=(1024, 2)) * 0.02 + [52.52, 13.40]
end = rng.normal(size=(1024, 2)) * 0.02 + [52.52, 13.40]
rides = np.concatenate([start, end], axis=1).astype("float32")
step = (end - start) * [111.0, 67.0]
fares = (4 + 2.2 * np.hypot(step[:, :1], step[:, 1:])).astype("float32")

inputs = keras.Input((4,))
x = RideLength(name="ride_length")(inputs)  # <- culprit
x = layers.Dense(16, activation="relu")(x)
model = keras.Model(inputs, layers.Dense(1)(x))
model.compile(keras.optimizers.Adam(1e-2), "mse")
history = model.fit(rides, fares, batch_size=64, epochs=15, verbose=2)
