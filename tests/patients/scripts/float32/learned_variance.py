"""Network that predicts a variance without keeping it positive."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(46)
keras.mixed_precision.set_global_policy("mixed_float16")


class Uncertain(keras.Model):
    """Mean and variance of the target."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(32, activation="relu")
        self.mean = layers.Dense(1, dtype="float32")
        self.variance = layers.Dense(1, dtype="float32")

    def call(self, x):
        h = self.hidden(x)
        return self.mean(h), self.variance(h)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        mean, variance = y_pred
        return ops.mean(ops.square(y - mean) / variance + ops.log(variance))  # <- culprit


rng = np.random.default_rng(46)
x = rng.normal(size=(512, 8)).astype("float32")
y = x[:, :1] * (1 + 0.3 * rng.normal(size=(512, 1)).astype("float32"))
model = Uncertain()
model.compile(keras.optimizers.Adam(3e-3))
history = model.fit(x, y, batch_size=64, epochs=6, verbose=2)
