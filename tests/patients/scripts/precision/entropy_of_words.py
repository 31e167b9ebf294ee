"""Topic model whose word probabilities are normalised by hand before their logarithm."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(30)
keras.mixed_precision.set_global_policy("mixed_float16")


class TopicModel(keras.Model):
    """Bag of words through a few topics and back."""

    def __init__(self, words):
        super().__init__()
        self.encoder = layers.Dense(32, activation="relu")
        self.topics = layers.Dense(8, activation="softmax")
        self.decoder = layers.Dense(words)

    def call(self, counts):
        topics = self.topics(self.encoder(ops.log(counts + 1)))
        return ops.softmax(self.decoder(12.0 * topics))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        likelihood = ops.cast(x, y_pred.dtype) * ops.log(y_pred + 1e-9)  # <- culprit
        return -ops.mean(ops.sum(ops.cast(likelihood, "float32"), axis=-1)) / 100


rng = np.random.default_rng(30)
topics = rng.dirichlet(np.full(300, 0.02), size=5)
counts = np.stack([rng.multinomial(100, topics[t]) for t in rng.integers(0, 5, 384)])
model = TopicModel(300)
model.compile(keras.optimizers.Adam(5e-2))
history = model.fit(counts.astype("float32"), batch_size=32, epochs=10, verbose=2)
