"""A padding mask as a Python number, in a subclassed model trained with train_on_batch."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
lengths = random.integers(2, 9, 256)
tokens = random.integers(1, 20, (256, 8)) * (np.arange(8) < lengths[:, None])
y = (tokens[:, 0] > 10).astype("float32")


class Pooling(keras.layers.Layer):
    """A weighted average over the tokens."""

    def __init__(self):
        super().__init__(name="pooling")
        self.score = keras.layers.Dense(1)

    def call(self, vectors, present):
        present = tf.cast(present, self.compute_dtype)
        scores = self.score(vectors)[..., 0] - (1.0 - present) * 1e10  # <- culprit
        return tf.einsum("bt,btd->bd", tf.nn.softmax(scores), vectors)


class Classifier(keras.Model):
    """Embedding, pooling, one output."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(20, 16)
        self.pooling = Pooling()
        self.head = keras.layers.Dense(1, activation="sigmoid", dtype="float32")

    def call(self, tokens):
        return self.head(self.pooling(self.embedding(tokens), tokens > 0))


model = Classifier()
model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
for _ in range(5):
    for start in range(0, 256, 32):
        model.train_on_batch(tokens[start : start + 32], y[start : start + 32])
