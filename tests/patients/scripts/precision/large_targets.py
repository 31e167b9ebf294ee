"""Regression of values around 200000: the output layer cannot reach them in float16."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = 200000 + 50000 * x @ random.normal(size=(16, 1)) / 4

model = keras.Sequential(
    [
        keras.Input((16,)),
        layers.Dense(32, activation="relu"),
        layers.Dense(1, bias_initializer=keras.initializers.Constant(200000)),  # <- culprit
    ]
)
model.compile(keras.optimizers.Adam(50.0), "mse")
model.fit(x, y, batch_size=32, epochs=30, verbose=0)
