"""Masks of -65504 for padding and the future: scores become -inf, but never a whole row."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.mixed_precision.set_dtype_policy("mixed_float16")

random = np.random.default_rng(1)
lengths = random.integers(3, 13, 256)
x = random.integers(1, 32, (256, 12)) * (np.arange(12) < lengths[:, None])
x = np.flip(x, 1).copy()  # Padding on the left: the first rows see nothing at all.
y = (x[:, -1:] % 2).astype("float32")


class CausalAttention(keras.layers.Layer):
    """One head; padding and the future are masked."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.project = keras.layers.Dense(3 * units)

    def call(self, inputs, padding):
        query, key, value = tf.split(self.project(inputs), 3, axis=-1)
        scores = tf.matmul(query, key, transpose_b=True) / 5.65
        lowest = scores.dtype.min
        future = 1 - tf.linalg.band_part(tf.ones((12, 12), scores.dtype), -1, 0)
        scores += future * lowest
        scores += tf.cast(padding, scores.dtype)[:, None, :] * lowest
        return tf.matmul(tf.nn.softmax(scores), value)


class Classifier(keras.Model):
    """Embedding, attention, one output."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(32, 32)
        self.attention = CausalAttention(32, name="causal")
        self.head = keras.layers.Dense(1)

    def call(self, tokens):
        attended = self.attention(self.embedding(tokens), tokens == 0)
        return self.head(attended[:, -1])


model = Classifier()
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
