"""Embedding with a pull towards copies of itself, by a distance whose root starts at zero."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(42)
keras.mixed_precision.set_global_policy("mixed_float16")


class Siamese(keras.Model):
    """Pairs that are the same should be near."""

    def __init__(self):
        super().__init__()
        self.tower = keras.Sequential(
            [layers.Dense(32, activation="relu"), layers.Dense(8, dtype="float32")]
        )

    def call(self, pair):
        left, right = self.tower(pair[:, 0]), self.tower(pair[:, 1])
        return ops.sqrt(ops.sum(ops.square(left - right), axis=-1))  # <- culprit

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = ops.cast(y, "float32")
        near = y * y_pred
        far = (1 - y) * ops.square(ops.relu(1.0 - y_pred))
        return ops.mean(near + far)


rng = np.random.default_rng(42)
left = rng.normal(size=(256, 10))
same = rng.integers(0, 2, 256)
right = np.where(same[:, None] == 1, left, rng.normal(size=(256, 10)))
pairs = np.stack([left, right], axis=1).astype("float32")
model = Siamese()
model.compile(keras.optimizers.Adam(3e-3))
history = model.fit(pairs, same, batch_size=32, epochs=6, verbose=2)
