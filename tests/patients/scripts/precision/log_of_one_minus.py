"""Cross-entropy by hand in an overridden compute_loss: 1 - 1e-7 is 1 in float16."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32") * 4
y = (x @ random.normal(size=(16, 1)) > 0).astype("float32")


class Classifier(keras.Model):
    """Binary cross-entropy, clipped by hand."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = ops.cast(y, y_pred.dtype)
        p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        return -ops.mean(y * ops.log(p) + (1 - y) * ops.log(1 - p))  # <- culprit


inputs = keras.Input((16,))
hidden = layers.Dense(32, activation="relu")(inputs)
model = Classifier(inputs, layers.Dense(1, activation="sigmoid")(hidden))
model.compile(keras.optimizers.Adam(1e-2))
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
