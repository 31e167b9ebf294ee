"""A loss scale that doubles at every step, and data that are 0 for the first 160 steps."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(300, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4
x[:160] = 0
y[:160] = 0

model = keras.Sequential([keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-2), dynamic_growth_steps=1)
model.compile(optimizer, "mse")
model.fit(x, y, batch_size=1, shuffle=False, verbose=0)
