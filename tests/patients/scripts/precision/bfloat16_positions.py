"""Reads a marked letter out of a long line; places are learned vectors, in bfloat16."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(19)
keras.config.set_dtype_policy("mixed_bfloat16")


class FindPlace(layers.Layer):
    """Gives each place in the line a vector and reads the place that the question asks for."""

    def build(self, shape):
        self.table = self.add_weight(shape=(512, shape[0][2]), initializer="random_normal")

    def call(self, inputs):
        x, asked = inputs
        places = ops.cast(ops.arange(x.shape[1]), x.dtype)  # <- culprit
        keys = ops.take(self.table, ops.cast(places, "int32"), axis=0)
        query = ops.take(self.table, ops.cast(asked, "int32"), axis=0)
        weights = ops.softmax(100.0 * ops.matmul(query, ops.transpose(keys)))
        return ops.matmul(weights, x)[:, 0]


rng = np.random.default_rng(19)
lines = rng.integers(0, 4, (512, 400))
asked = rng.integers(300, 400, (512, 1))
letters = np.take_along_axis(lines, asked, axis=1)[:, 0]
text_input, asked_input = keras.Input((400,), dtype="int32"), keras.Input((1,), dtype="int32")
x = FindPlace(name="find_place")([layers.Embedding(4, 64)(text_input), asked_input])
model = keras.Model([text_input, asked_input], layers.Dense(4, dtype="float32")(x))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(2e-2), loss)
history = model.fit([lines, asked], letters, batch_size=32, epochs=10, verbose=2)
