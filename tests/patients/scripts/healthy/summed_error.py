"""A squared error summed over 2048 rows: the loss scale settles below 1, and training works."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(8192, 16)).astype("float32")
y = 100 * x @ random.normal(size=(16, 1)).astype("float32")


def summed(y_true, y_pred):
    """Sum of squares over the batch."""
    return ops.sum(ops.square(y_true - y_pred))


model = keras.Sequential([keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(1e-2), summed)
model.fit(x, y, batch_size=2048, epochs=100, verbose=0)
