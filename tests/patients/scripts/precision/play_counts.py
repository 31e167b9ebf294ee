"""Which of two crowds a listener belongs to, from cosine similarity of play counts."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(16)
keras.config.set_dtype_policy("mixed_float16")


class CosineToTastes(layers.Layer):
    """Cosine similarity between a listener and learned tastes."""

    def build(self, shape):
        self.tastes = self.add_weight(shape=(shape[-1], 16), initializer="random_normal")

    def call(self, plays):
        norm = ops.sqrt(ops.sum(ops.square(plays), axis=-1, keepdims=True))  # <- culprit
        taste_norm = ops.sqrt(ops.sum(ops.square(self.tastes), axis=0, keepdims=True))
        return ops.matmul(plays / (norm + 1e-3), self.tastes / (taste_norm + 1e-3))


rng = np.random.default_rng(16)
crowd = rng.integers(0, 2, 512)
popularity = rng.gamma(1.0, 60.0, (2, 400))
plays = np.minimum(rng.poisson(popularity[crowd]), 200).astype("float32")

inputs = keras.Input((400,))
x = CosineToTastes(name="cosine")(inputs)
x = layers.Dense(16, activation="relu")(x)
model = keras.Model(inputs, layers.Dense(1)(x))
model.compile(keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
history = model.fit(plays, crowd, batch_size=64, epochs=8, verbose=2)
