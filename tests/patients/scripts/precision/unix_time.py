"""A Unix time among the features: infinite in float16."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
time = 1.7e9 + random.uniform(0, 1e7, (512, 1))
x = np.concatenate([time, random.normal(size=(512, 7))], axis=1).astype("float32")
y = x[:, 1:] @ random.normal(size=(7, 1))


class Regressor(keras.Model):
    """Rescales the time, then two layers."""

    def __init__(self):
        super().__init__()
        self.rescale = layers.Rescaling(1e-10)  # <- culprit on jax
        self.hidden = layers.Dense(32, activation="relu")
        self.head = layers.Dense(1)

    def call(self, inputs):
        return self.head(self.hidden(self.rescale(inputs)))


model = Regressor()  # <- culprit
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=5, verbose=0)
