"""A convolutional autoencoder in mixed_bfloat16."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_bfloat16")

random = np.random.default_rng(0)
phase = random.uniform(0, 6, (256, 1, 1))
grid = np.arange(16) / 3
x = (np.sin(grid[:, None] + phase) * np.cos(grid - phase)).astype("float32")[..., None]

encoder = keras.Sequential(
    [
        keras.Input((16, 16, 1)),
        layers.Conv2D(8, 3, 2, padding="same", activation="gelu"),
        layers.Conv2D(4, 3, 2, padding="same"),
    ],
    name="encoder",
)
decoder = keras.Sequential(
    [
        keras.Input((4, 4, 4)),
        layers.Conv2DTranspose(8, 3, 2, padding="same", activation="gelu"),
        layers.Conv2DTranspose(1, 3, 2, padding="same", dtype="float32"),
    ],
    name="decoder",
)
model = keras.Sequential([encoder, decoder])
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit(x, x, batch_size=32, epochs=15, verbose=0)
