"""The policy is set after the model was built: it trains in float32, which is only advice."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4

model = keras.Sequential([keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
keras.config.set_dtype_policy("mixed_float16")
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=5, verbose=0)
