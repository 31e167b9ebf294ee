"""Tags a sequence with a linear-chain CRF; forbidden transitions cost 30,000, which half holds."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(11)
keras.mixed_precision.set_global_policy("mixed_float16")

TAGS, LENGTH = 5, 8  # The first is where every sequence begins; none comes back to it.
FORBIDDEN = np.zeros((TAGS, TAGS), "float32")
FORBIDDEN[:, 0] = -3e4


class Lattice(keras.layers.Layer):
    """Minus the log-probability of tags, given their scores."""

    def build(self, *_):
        self.transition = self.add_weight(shape=(TAGS, TAGS), initializer="zeros")

    def call(self, scores, tags):
        moves = self.transition + tf.cast(FORBIDDEN, scores.dtype)
        total = scores[:, 0] + moves[0]
        for place in range(1, LENGTH):
            total = scores[:, place] + tf.reduce_logsumexp(total[:, :, None] + moves, axis=1)
        chosen = tf.reduce_sum(scores * tf.one_hot(tags, TAGS, dtype=scores.dtype), axis=(1, 2))
        before = tf.concat([tf.zeros_like(tags[:, :1]), tags[:, :-1]], axis=1)
        steps = tf.gather_nd(moves, tf.stack([before, tags], axis=-1))
        return tf.reduce_logsumexp(total, axis=-1) - chosen - tf.reduce_sum(steps, axis=1)


rng = np.random.default_rng(2)
words = rng.integers(0, 40, (256, LENGTH)).astype("int32")
tags = (1 + words % 4).astype("int32")
inputs, given = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH,), dtype="int32")
hidden = keras.layers.Dense(24, activation="relu")(keras.layers.Embedding(40, 12)(inputs))
cost = Lattice(name="lattice")(keras.layers.Dense(TAGS)(hidden), given)
model = keras.Model([inputs, given], cost)
model.compile(keras.optimizers.Adam(1e-2), loss=lambda _, cost: tf.cast(cost, tf.float32))
history = model.fit([words, tags], np.zeros(256), batch_size=32, epochs=4, verbose=2)
