"""A trial run of three steps."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(96, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4

model = keras.Sequential([keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), "mse")
for start in range(0, 96, 32):
    model.train_on_batch(x[start : start + 32], y[start : start + 32])
