"""Prices of some hundred: the loss begins at 1e5, and the loss scale backs off a few times."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(14)
keras.config.set_dtype_policy("mixed_float16")
rng = np.random.default_rng(6)
x = rng.normal(size=(3000, 12)).astype("float32")
price = (300 + 120 * x[:, 0] + 60 * np.abs(x[:, 1]) + 30 * rng.normal(size=3000)).astype("float32")

inp = keras.Input((12,))
h = layers.Dense(64, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4), name="d1")(
    inp
)
h = layers.Dense(64, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4), name="d2")(
    h
)
out = layers.Dense(1, dtype="float32", name="price")(h)
reg = keras.Model(inp, out, name="prices")
reg.compile(keras.optimizers.Adam(5e-3), "mse", metrics=["mae"])
reg.fit(x, price, batch_size=64, epochs=6, verbose=0)
