"""Image-text towers with a learned temperature, similarities compared in float32."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

keras.utils.set_random_seed(38)
keras.mixed_precision.set_global_policy("mixed_float16")


class Towers(keras.Model):
    """Two towers that agree on pairs."""

    def __init__(self):
        super().__init__()
        self.images = keras.Sequential([layers.Dense(64, activation="relu"), layers.Dense(16)])
        self.texts = keras.Sequential([layers.Dense(64, activation="relu"), layers.Dense(16)])
        self.log_scale = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(np.log(1 / 0.07)), name="log_scale"
        )

    def call(self, inputs):
        image, text = inputs
        image = ops.normalize(ops.cast(self.images(image), "float32"))
        text = ops.normalize(ops.cast(self.texts(text), "float32"))
        scale = ops.exp(ops.cast(self.log_scale, "float32"))
        return scale * ops.matmul(image, ops.transpose(text))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        pairs = ops.arange(ops.shape(y_pred)[0])
        losses = keras.losses.sparse_categorical_crossentropy
        rows = losses(pairs, y_pred, from_logits=True)
        columns = losses(pairs, ops.transpose(y_pred), from_logits=True)
        return ops.mean(rows + columns)


rng = np.random.default_rng(38)
meaning = rng.normal(size=(512, 8))
image = (meaning @ rng.normal(size=(8, 24)) + 0.3 * rng.normal(size=(512, 24))).astype("float32")
text = (meaning @ rng.normal(size=(8, 12)) + 0.3 * rng.normal(size=(512, 12))).astype("float32")
model = Towers()
model.compile(keras.optimizers.Adam(3e-3))
pairs = tf.data.Dataset.from_tensor_slices(((image, text),)).batch(64)
history = model.fit(pairs, epochs=6, verbose=2)
