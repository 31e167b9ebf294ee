"""A large target at the start: the loss scale backs off a few times, then all is well."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = 50 * x @ random.normal(size=(16, 1)) / 4

model = keras.Sequential([keras.Input((16,)), layers.Dense(64, activation="tanh"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(3e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
