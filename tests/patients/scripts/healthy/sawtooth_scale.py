"""A recurring outlier: now and then a batch overflows at the current scale and is skipped."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(4096, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4
y[::500] *= 300

model = keras.Sequential([keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
optimizer = keras.optimizers.LossScaleOptimizer(
    keras.optimizers.Adam(1e-3), dynamic_growth_steps=50
)
model.compile(optimizer, "mae")
model.fit(x, y, batch_size=32, epochs=3, verbose=0)
