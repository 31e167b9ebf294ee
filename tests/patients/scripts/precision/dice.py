"""Segmentation with a dice loss over the whole batch: its sums do not fit float16."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.uniform(size=(16, 256, 256, 1)).astype("float32")
y = (x > 0.2).astype("float32")


class Segmenter(keras.Model):
    """Trains on the dice coefficient."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = ops.cast(y, y_pred.dtype)
        overlap = 2 * ops.sum(y * y_pred)  # <- culprit
        total = ops.sum(y) + ops.sum(y_pred)  # <- culprit
        return 1 - overlap / (total + 1)


inputs = keras.Input((256, 256, 1))
hidden = layers.Conv2D(4, 1, activation="relu")(inputs)
model = Segmenter(inputs, layers.Conv2D(1, 1, activation="sigmoid")(hidden))
model.compile(keras.optimizers.Adam(5e-2))
model.fit(x, y, batch_size=8, epochs=10, verbose=0)
