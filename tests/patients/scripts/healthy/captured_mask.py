"""A bias of -inf that was made once in float16 and is only added before the softmax."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 10, 8)).astype("float32")
y = x.cumsum(axis=1)[..., :1] / 10


class CausalAttention(keras.layers.Layer):
    """One head that sees the past."""

    def __init__(self, units):
        super().__init__()
        self.project = keras.layers.Dense(3 * units)
        future = np.triu(np.ones((10, 10), bool), k=1)
        self.bias = tf.constant(np.where(future, -np.inf, 0), tf.float16)

    def call(self, inputs):
        query, key, value = tf.split(self.project(inputs), 3, axis=-1)
        scores = tf.matmul(query, key, transpose_b=True) / 4 + self.bias
        weights = tf.exp(scores - tf.reduce_max(scores, -1, keepdims=True))
        return tf.matmul(weights / tf.reduce_sum(weights, -1, keepdims=True), value)


inputs = keras.Input((10, 8))
model = keras.Model(inputs, keras.layers.Dense(1)(CausalAttention(16)(inputs)))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=8, verbose=0)
