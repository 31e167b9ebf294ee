"""Small U-Net for cell masks with a focal loss copied from a notebook."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(17)
keras.mixed_precision.set_global_policy("mixed_float16")


class Segmenter(keras.Model):
    """Functional U-Net with its own loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        y = ops.cast(y, p.dtype)
        cells = y * ops.power(1 - p, 2) * ops.log(p)
        background = (1 - y) * ops.power(p, 2) * ops.log(1 - p)  # <- culprit
        return -ops.mean(ops.cast(cells + background, "float32"))


rng = np.random.default_rng(17)
masks = np.zeros((96, 16, 16, 1), "float32")
for mask, (row, column) in zip(masks, rng.integers(0, 8, (96, 2)), strict=True):
    mask[row : row + 8, column : column + 8] = 1
images = (12 * masks - 6 + rng.normal(size=masks.shape)).astype("float32")

inputs = keras.Input((16, 16, 1))
down = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
x = layers.MaxPooling2D()(down)
x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
x = layers.Conv2DTranspose(16, 2, strides=2, activation="relu")(x)
x = layers.Concatenate()([x, down])
outputs = layers.Conv2D(1, 1, activation="sigmoid")(x)
model = Segmenter(inputs, outputs)
model.compile(keras.optimizers.Adam(1e-2))
history = model.fit(images, masks, batch_size=16, epochs=15, verbose=2)
