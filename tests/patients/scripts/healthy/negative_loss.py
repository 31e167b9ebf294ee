"""A loss that is negative: the log-likelihood of a narrow normal distribution."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = (x @ random.normal(size=(16, 1)) / 4 + 0.05 * random.normal(size=(512, 1))).astype("float32")


def likelihood(y_true, y_pred):
    """Negative log-likelihood without its constant."""
    mean, log_scale = y_pred[:, :1], y_pred[:, 1:]
    return ops.mean(log_scale + 0.5 * ops.square((y_true - mean) * ops.exp(-log_scale)))


model = keras.Sequential([keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(2)])
model.compile(keras.optimizers.Adam(5e-3), likelihood)
model.fit(x, y, batch_size=32, epochs=20, verbose=0)
