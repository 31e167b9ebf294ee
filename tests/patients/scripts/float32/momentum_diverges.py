"""A linear model that oscillates and grows step by step."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = 3 * random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1))

model = keras.Sequential([keras.Input((16,)), layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.09, momentum=0.9), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
