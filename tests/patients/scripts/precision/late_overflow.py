"""Targets around 120000: training looks well until the output has grown past 65504."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = 120000 + 2000 * x @ random.normal(size=(16, 1))

model = keras.Sequential(
    [
        keras.Input((16,)),
        layers.Dense(32, activation="relu"),
        layers.Dense(1, name="price"),  # <- culprit
    ]
)
model.compile(keras.optimizers.Adam(20.0), "mae")
model.fit(x, y, batch_size=32, epochs=30, verbose=0)
