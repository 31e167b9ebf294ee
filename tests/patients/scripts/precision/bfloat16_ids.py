"""Item numbers up to 2000 in a float tensor under mixed_bfloat16, which is exact up to 256."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_bfloat16")

random = np.random.default_rng(0)
item = random.integers(0, 2000, 4096)
x = np.stack([item, random.normal(size=4096)], axis=1).astype("float32")
y = (random.normal(size=2000)[item] + 0.1 * x[:, 1]).astype("float32")[:, None]


class Embed(layers.Layer):
    """The number of an item looked up in a table."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = layers.Embedding(2048, 8)

    def call(self, inputs):
        rows = self.table(ops.cast(inputs[:, 0], "int32"))  # <- culprit
        return ops.concatenate([rows, inputs[:, 1:]], axis=-1)


inputs = keras.Input((2,))
embedded = Embed(name="embed")(inputs)  # <- culprit
model = keras.Model(inputs, layers.Dense(1)(embedded))
model.compile(keras.optimizers.Adam(3e-2), "mse")
model.fit(x, y, batch_size=128, epochs=6, verbose=0)
