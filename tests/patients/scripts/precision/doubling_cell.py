"""A recurrent cell whose state doubles with every step: past 65504 after sixteen."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 24, 4)).astype("float32")
y = x[:, -4:].mean(axis=(1, 2))[:, None]


class Doubling(layers.Layer):
    """Adds the input to twice the state."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = units
        self.project = layers.Dense(units)

    def build(self, input_shape):
        self.project.build(input_shape)

    def call(self, inputs, states):
        state = 2 * states[0] + ops.tanh(self.project(inputs))  # <- culprit
        return state, [state]


inputs = keras.Input((24, 4))
state = layers.RNN(Doubling(16), name="doubling")(inputs)
outputs = layers.Dense(1)(layers.Rescaling(1e-7)(state))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
