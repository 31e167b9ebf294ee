"""Face-like embedding trained with a hardest-triplet loss over pairwise distances."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(6)
keras.config.set_dtype_policy("mixed_float16")


class TripletModel(keras.Model):
    """Pulls the farthest friend in and pushes the nearest stranger away."""

    def __init__(self):
        super().__init__()
        self.body = layers.Dense(64, activation="relu")
        self.head = layers.Dense(16)

    def call(self, x):
        return self.head(self.body(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        difference = y_pred[:, None, :] - y_pred[None, :, :]
        squared = ops.sum(ops.square(difference), axis=-1)
        distance = ops.sqrt(ops.maximum(squared, 1e-12))  # <- culprit on torch
        same = ops.cast(ops.equal(y[:, None], y[None, :]), distance.dtype)
        farthest = ops.max(distance * same, axis=1)
        nearest = ops.min(distance + same * 100.0, axis=1)
        return ops.mean(ops.relu(farthest - nearest + 1.0))


rng = np.random.default_rng(6)
people = rng.integers(0, 10, 512)
faces = (rng.normal(size=(10, 32))[people] + 1.2 * rng.normal(size=(512, 32))).astype("float32")
model = TripletModel()
model.compile(keras.optimizers.Adam(3e-3))
history = model.fit(faces, people, batch_size=64, epochs=8, verbose=2)
