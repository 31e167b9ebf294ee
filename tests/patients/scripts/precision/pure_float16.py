"""The policy float16 instead of mixed_float16: a small learning rate moves no weight."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("float16")

random = np.random.default_rng(0)
x = random.normal(size=(1024, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4

model = keras.Sequential(
    [
        keras.Input((16,)),
        layers.Dense(64, activation="relu", kernel_initializer="he_normal"),
        layers.Dense(64, activation="relu", kernel_initializer="he_normal"),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(3e-5), "mse")
model.fit(x, y, batch_size=8, epochs=8, verbose=0)
