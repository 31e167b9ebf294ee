"""Road length from way points: small steps between large map coordinates, in metres."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(29)
keras.config.set_dtype_policy("mixed_bfloat16")


class StepLengths(layers.Layer):
    """Length of each step of a track."""

    def call(self, track):
        step = track[:, 1:] - track[:, :-1]  # <- culprit
        return ops.sqrt(ops.sum(step * step, axis=-1) + 1e-3)


rng = np.random.default_rng(29)
speed = rng.uniform(1, 5, (256, 1, 1))
steps = speed * rng.normal(size=(256, 24, 2))
tracks = (np.cumsum(steps, axis=1) + rng.uniform(3000, 4000, (256, 1, 2))).astype("float32")

inputs = keras.Input((24, 2))
x = StepLengths(name="step_lengths")(inputs)  # <- culprit
x = layers.Reshape((23, 1))(x)
x = layers.GRU(16)(x)
model = keras.Model(inputs, layers.Dense(1)(x))
model.compile(keras.optimizers.Adam(1e-2), "mse")
history = model.fit(tracks, speed[:, 0], batch_size=32, epochs=8, verbose=2)
