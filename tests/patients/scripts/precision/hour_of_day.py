"""Energy demand from the number of hours since a reference date."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(7)
keras.config.set_dtype_policy("mixed_float16")


class DailyCycle(layers.Layer):
    """Sine and cosine of the time of day."""

    def call(self, hours):
        angle = hours * (2 * np.pi / 24)  # <- culprit
        return ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)  # <- culprit


rng = np.random.default_rng(7)
hours = rng.integers(30000, 45000, (1024, 1)).astype("float32")
temperature = rng.normal(size=(1024, 1)).astype("float32")
demand = 0.5 * np.sin(2 * np.pi * hours / 24) + 0.2 * temperature

hour_input = keras.Input((1,), name="hours")
temperature_input = keras.Input((1,), name="temperature")
cycle = DailyCycle(name="daily_cycle")(hour_input)  # <- culprit
x = layers.Concatenate()([cycle, temperature_input])
x = layers.Dense(32, activation="relu")(x)
model = keras.Model([hour_input, temperature_input], layers.Dense(1)(x))
model.compile(keras.optimizers.Adam(1e-2), "mse")
history = model.fit([hours, temperature], demand, batch_size=64, epochs=10, verbose=2)
