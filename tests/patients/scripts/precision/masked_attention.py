"""Attention with an additive padding mask of -1e9: the constant is -inf in float16."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
lengths = random.integers(3, 13, 256)
x = random.integers(1, 32, (256, 12)) * (np.arange(12) < lengths[:, None])
y = (x[:, :1] % 2).astype("float32")


class Attention(layers.Layer):
    """Scaled dot-product attention that ignores padding."""

    def call(self, query, key, value, mask):
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 5.65
        mask = ops.expand_dims(ops.cast(mask, scores.dtype), 1)
        scores = scores + (1 - mask) * ops.cast(-1e9, scores.dtype)  # <- culprit
        return ops.matmul(ops.softmax(scores), value)


tokens = keras.Input((12,), dtype="int32")
embedded = layers.Embedding(32, 32)(tokens)
query, key, value = (layers.Dense(32)(embedded) for _ in range(3))
attended = Attention(name="attention")(query, key, value, ops.not_equal(tokens, 0))
outputs = layers.Dense(1)(layers.GlobalAveragePooling1D()(attended))
model = keras.Model(tokens, outputs)
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
