"""Incomes spread over tens of thousands: Normalization holds an infinite variance, and gives 0."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 8)).astype("float32")
y = x @ random.normal(size=(8, 1)) / 3
x = 20000 + 3000 * x

normalization = layers.Normalization()  # <- culprit
normalization.adapt(x)
model = keras.Sequential([keras.Input((8,)), normalization, layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=20, verbose=0)
