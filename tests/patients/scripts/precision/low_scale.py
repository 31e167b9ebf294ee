"""A fixed loss scale of 2: far too little for the gradients of small errors in small images."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.uniform(size=(64, 64, 64, 1)).astype("float32")
y = 0.001 * x + 0.0002

model = keras.Sequential(
    [
        keras.Input((64, 64, 1)),
        layers.Conv2D(8, 1, activation="relu"),  # <- culprit
        layers.Conv2D(1, 1, kernel_initializer="zeros"),
    ]
)
optimizer = keras.optimizers.LossScaleOptimizer(
    keras.optimizers.Adam(3e-3, epsilon=1e-10), initial_scale=2.0, dynamic_growth_steps=10**6
)
model.compile(optimizer, "mse")
model.fit(x, y, batch_size=16, epochs=30, verbose=0)
