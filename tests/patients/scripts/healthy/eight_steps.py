"""Eight steps of a classifier, the first two of them lost to the search for the loss scale."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 16)).astype("float32")
y = 8 * x @ random.normal(size=(16, 1))

model = keras.Sequential([keras.Input((16,)), layers.Dense(32), layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, verbose=0)
