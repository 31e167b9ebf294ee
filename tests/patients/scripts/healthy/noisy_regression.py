"""Regression of targets that are mostly noise."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4 + 2 * random.standard_t(3, (512, 1))

model = keras.Sequential(
    [
        keras.Input((16,)),
        layers.Dense(32, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(3e-3), "huber", metrics=["mae"])
model.fit(x, y, batch_size=32, epochs=15, validation_split=0.1, verbose=0)
