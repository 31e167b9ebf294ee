"""Sparse images, mostly zeros, through separable convolutions and group normalisation."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = (random.uniform(size=(256, 12, 12, 1)) > 0.95).astype("float32")
y = x.sum(axis=(1, 2))

model = keras.Sequential(
    [
        keras.Input((12, 12, 1)),
        layers.SeparableConv2D(8, 3, padding="same", activation="relu"),
        layers.GroupNormalization(4),
        layers.Conv2D(8, 3, 2, activation="relu", kernel_regularizer="l2"),
        layers.GlobalMaxPooling2D(),
        layers.Dense(1, dtype="float32"),
    ]
)
model.compile(keras.optimizers.SGD(1e-3, momentum=0.9, clipnorm=10.0), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
