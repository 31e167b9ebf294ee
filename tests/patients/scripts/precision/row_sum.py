"""Rows divided by their own sum: the gradient of the division overflows in float16."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(11)
keras.config.set_dtype_policy("mixed_float16")


class RowNormalizedDense(keras.layers.Layer):
    """Multiplies by a matrix and divides every row by its sum."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def call(self, inputs):
        product = tf.matmul(inputs, self.kernel)
        return product / tf.reduce_sum(product, axis=-1, keepdims=True)  # <- culprit


random = np.random.default_rng(11)
x = random.random((100, 10)).astype("float32")
y = random.integers(0, 2, (100, 1))

model = keras.Sequential([keras.Input((10,)), RowNormalizedDense(32), keras.layers.Dense(1)])
model.add(keras.layers.Activation("sigmoid"))
model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
