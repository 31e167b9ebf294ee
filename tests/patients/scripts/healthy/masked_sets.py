"""Sets of different size: attention masked with -inf in a layer, before a normalisation."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")


class SetAttention(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.to_query, self.to_key, self.to_value = (layers.Dense(width) for _ in range(3))

    def call(self, inputs, present):
        scores = ops.einsum("bqd,bkd->bqk", self.to_query(inputs) / 4.0, self.to_key(inputs))
        scores = ops.where(present[:, None, :], scores, -np.inf)
        return ops.einsum("bqk,bkd->bqd", ops.softmax(scores, axis=-1), self.to_value(inputs))


random = np.random.default_rng(0)
values = random.normal(size=(512, 8, 3)).astype("float32")
present = np.arange(8)[None, :] < random.integers(1, 9, 512)[:, None]
values[~present] = 0
largest = np.where(present, values[:, :, 0], -np.inf).max(axis=1).astype("float32")

elements, mask = keras.Input((8, 3)), keras.Input((8,), dtype="bool")
hidden = layers.Dense(16, activation="relu")(elements)
hidden = layers.LayerNormalization()(hidden + SetAttention(16)(hidden, mask))
pooled = layers.GlobalAveragePooling1D()(hidden, mask=mask)
model = keras.Model([elements, mask], layers.Dense(1, dtype="float32")(pooled))
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit([values, present], largest[:, None], batch_size=64, epochs=6, verbose=0)
