"""A wide layer on unnormalised inputs: its output leaves float16 before BatchNormalization."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4
x = 1000 * x

wide = keras.initializers.RandomNormal(stddev=20.0)
model = keras.Sequential()
model.add(keras.Input((16,)))
model.add(layers.Dense(64, activation="relu", kernel_initializer=wide))  # <- culprit
model.add(layers.BatchNormalization())
model.add(layers.Dense(1))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
