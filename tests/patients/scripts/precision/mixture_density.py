"""Mixture density network with the likelihood as the textbook writes it."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(10)
keras.mixed_precision.set_global_policy("mixed_float16")


class MixtureDensityNetwork(keras.Model):
    """Three Gaussians whose parameters depend on the input."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(32, activation="tanh")
        self.logits = layers.Dense(3)
        self.means = layers.Dense(3)
        self.scales = layers.Dense(3, activation="softplus")

    def call(self, x):
        h = self.hidden(x)
        return ops.softmax(self.logits(h)), self.means(h), self.scales(h) + 0.1

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        weights, means, scales = y_pred
        z = (ops.cast(y, means.dtype) - means) / scales
        density = ops.exp(-0.5 * z * z) / (scales * np.sqrt(2 * np.pi))
        likelihood = ops.sum(weights * density, axis=-1)
        return -ops.mean(ops.log(likelihood + 1e-10))  # <- culprit


rng = np.random.default_rng(10)
y = rng.uniform(-8, 8, (512, 1)).astype("float32")
x = (y + 2.5 * np.sin(y) + rng.normal(size=y.shape) * 0.3).astype("float32")
model = MixtureDensityNetwork()
model.compile(keras.optimizers.Adam(1e-2))
history = model.fit(x, y, batch_size=64, epochs=10, verbose=2)
