"""The small classifier with its loss scaling written out: nothing is to be found here either."""

import keras
import numpy as np

keras.utils.set_random_seed(7)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(7)
x = random.random((100, 10), dtype="float32")
y = random.integers(0, 2, (100, 1))

model = keras.Sequential(
    [
        keras.Input((10,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3))
model.compile(optimizer=optimizer, loss="binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
