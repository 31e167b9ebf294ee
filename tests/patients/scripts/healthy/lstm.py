"""A bidirectional LSTM on masked sequences."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 12, 4)).astype("float32")
x[np.arange(12) >= random.integers(4, 13, (256, 1))] = 0
y = (x[..., 0].sum(axis=1) > 0).astype("float32")

model = keras.Sequential(
    [
        keras.Input((12, 4)),
        layers.Masking(),
        layers.Bidirectional(layers.LSTM(16)),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
