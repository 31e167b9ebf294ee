"""Message passing on one graph with a few hubs; neighbours' messages are added up."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(8)
keras.config.set_dtype_policy("mixed_float16")


class SumNeighbours(layers.Layer):
    """Adds the messages of all neighbours."""

    def __init__(self, adjacency, **kwargs):
        super().__init__(**kwargs)
        self.adjacency = adjacency

    def call(self, messages):
        return ops.matmul(ops.cast(self.adjacency, messages.dtype), messages)  # <- culprit


rng = np.random.default_rng(8)
nodes = 600
adjacency = (rng.random((nodes, nodes)) < 0.02).astype("float32")
adjacency[:20] = rng.random((20, nodes)) < 0.9
adjacency = np.maximum(adjacency, adjacency.T)
income = rng.uniform(0, 400, (1, nodes, 8)).astype("float32")
wealth = np.log(adjacency @ income[0, :, :1] + 1)[None]

inputs = keras.Input((nodes, 8))
x = layers.Dense(16, activation="relu")(inputs)
x = SumNeighbours(adjacency, name="sum_neighbours")(x)
x = layers.LayerNormalization()(x)
x = layers.Concatenate()([x, layers.LayerNormalization()(inputs)])
x = layers.Dense(16, activation="relu")(x)
model = keras.Model(inputs, layers.Dense(1)(x))
model.compile(keras.optimizers.Adam(1e-2), "mse")
history = model.fit(income, wealth, batch_size=1, epochs=60, verbose=2)
