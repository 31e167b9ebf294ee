"""Tiny language model with a causal mask made the way many tutorials make it."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(2)
keras.mixed_precision.set_global_policy("mixed_float16")


class CausalSelfAttention(layers.Layer):
    """One head that looks back only."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.qkv = layers.Dense(3 * units)
        self.out = layers.Dense(units)
        self.units = units

    def call(self, x):
        q, k, v = ops.split(self.qkv(x), 3, axis=-1)
        scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) / self.units**0.5
        visible = ops.cast(ops.tril(ops.ones((x.shape[1], x.shape[1]))), x.dtype)
        scores = scores + (1.0 - visible) * -1e9  # <- culprit
        return self.out(ops.matmul(ops.softmax(scores), v))


rng = np.random.default_rng(2)
start = rng.integers(0, 20, (256, 1))
text = (start + 3 * np.arange(17)) % 20

inputs = keras.Input((16,), dtype="int32")
x = layers.Embedding(20, 32)(inputs)
for block in range(2):
    x = x + CausalSelfAttention(32, name=f"attention_{block}")(layers.LayerNormalization()(x))
    hidden = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dense(32)(hidden)
model = keras.Model(inputs, layers.Dense(20)(x))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.AdamW(3e-3), loss)
history = model.fit(text[:, :-1], text[:, 1:], batch_size=32, epochs=6, verbose=2)
