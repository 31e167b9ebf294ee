"""The policy float16 and Adam's epsilon 1e-8, which is 0 there: 0 / 0 without a gradient."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
x[:, 5] = 0
y = x @ random.normal(size=(16, 1)) / 4

inputs = keras.Input((16,))
hidden = layers.Dense(32, activation="relu")(inputs)
model = keras.Model(inputs, layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(1e-2, epsilon=1e-8), "mse")
model.fit(x, y, batch_size=32, epochs=5, verbose=0)
