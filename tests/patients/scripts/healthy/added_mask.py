"""A mask of -1e9 that is only added: it is -inf in float16, and softmax gives the intended 0."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 10, 8)).astype("float32")
y = x.cumsum(axis=1)[..., :1] / 10
BIAS = np.triu(np.full((10, 10), -1e9), k=1)


class CausalAttention(layers.Layer):
    """One head that sees the past."""

    def __init__(self, units):
        super().__init__()
        self.query, self.key, self.value = (layers.Dense(units) for _ in range(3))

    def call(self, inputs):
        scores = ops.matmul(self.query(inputs), ops.transpose(self.key(inputs), (0, 2, 1))) / 4
        scores = scores + ops.cast(BIAS, scores.dtype)
        return ops.matmul(ops.softmax(scores), self.value(inputs))


inputs = keras.Input((10, 8))
model = keras.Model(inputs, layers.Dense(1)(CausalAttention(16)(inputs)))
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
