"""Features are centred by their running mean, kept in bfloat16 with a momentum of 0.998."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_bfloat16")

random = np.random.default_rng(0)
x = random.normal(size=(2048, 16)).astype("float32")
y = np.tanh(x[:, :1] - x[:, 1:2]).astype("float32")
x += 20.0


class Centre(layers.Layer):
    """Takes the mean of all that it has seen from what it sees."""

    def build(self, input_shape):
        self.mean = self.add_weight(
            shape=(input_shape[-1],), initializer="ones", trainable=False, dtype="bfloat16"
        )

    def call(self, inputs):
        mean = ops.cast(ops.mean(ops.cast(inputs, "float32"), axis=0), "bfloat16")
        self.mean.assign(0.998 * self.mean + 0.002 * mean)  # <- culprit
        return inputs - ops.cast(self.mean, inputs.dtype)


inputs = keras.Input((16,))
centred = Centre(name="centre")(inputs)
hidden = layers.Dense(32, activation="relu")(centred)
model = keras.Model(inputs, layers.Dense(1, dtype="float32")(hidden))
model.compile(keras.optimizers.Adam(1e-3), "mse")
model.fit(x, y, batch_size=8, epochs=6, verbose=0)
