"""Weights that start at 1e20: their products are infinite in float32 as well."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4

huge = keras.initializers.RandomNormal(stddev=1e20)
model = keras.Sequential(
    [
        keras.Input((16,)),
        layers.Dense(32, activation="relu", kernel_initializer=huge),
        layers.Dense(32, activation="relu", kernel_initializer=huge),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=5, verbose=0)
