"""Inputs near 20000 with unit spread, cast to float16 before Normalization subtracts the mean."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4
x = 20000 + x

normalization = layers.Normalization()  # <- culprit
normalization.adapt(x)
model = keras.Sequential([keras.Input((16,)), normalization, layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=40, verbose=0)
