"""Class numbers above 2048 that pass through the dtype of the prediction."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.integers(0, 256, (1024, 1))
y = 2049 + 2 * x


class Classifier(keras.Model):
    """Brings labels and predictions to one dtype first."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = ops.cast(y, y_pred.dtype)  # <- culprit
        labels = ops.cast(y[:, 0], "int32")
        logits = ops.cast(y_pred, "float32")
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return ops.mean(losses)


inputs = keras.Input((1,), dtype="int32")
hidden = layers.Flatten()(layers.Embedding(256, 64)(inputs))
model = Classifier(inputs, layers.Dense(4096)(hidden))
model.compile(keras.optimizers.Adam(3e-2))
model.fit(x, y, batch_size=64, epochs=12, verbose=0)
