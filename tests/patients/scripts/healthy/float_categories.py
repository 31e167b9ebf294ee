"""Category numbers below 2048 in a float tensor, and a large target in float32."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
category = random.integers(0, 2000, 1024)
x = np.stack([category, random.normal(size=1024)], axis=1).astype("float32")
y = (3000 + 10 * random.normal(size=2000)[category] + x[:, 1]).astype("float32")[:, None]


class Embed(layers.Layer):
    """The number of a category looked up in a table."""

    def __init__(self):
        super().__init__()
        self.table = layers.Embedding(2000, 8)

    def call(self, inputs):
        return ops.concatenate([self.table(ops.cast(inputs[:, 0], "int32")), inputs[:, 1:]], -1)


inputs = keras.Input((2,))
outputs = layers.Dense(1, bias_initializer=keras.initializers.Constant(3000))(Embed()(inputs))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(3e-2), "huber")
model.fit(x, y, batch_size=64, epochs=12, verbose=0)
