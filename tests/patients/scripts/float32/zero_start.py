"""Deep network whose weights all start at zero."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(44)
keras.config.set_dtype_policy("mixed_float16")

rng = np.random.default_rng(44)
features = rng.normal(size=(512, 12)).astype("float32")
labels = (features[:, 0] * features[:, 1] > 0).astype("float32")
model = keras.Sequential(
    [
        layers.Input((12,)),
        layers.Dense(64, activation="relu", kernel_initializer="zeros"),
        layers.Dense(64, activation="relu", kernel_initializer="zeros"),
        layers.Dense(1, kernel_initializer="zeros"),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
history = model.fit(features, labels, batch_size=32, epochs=8, verbose=2)
