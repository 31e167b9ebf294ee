"""A penalty on the activations, added up in float16 by a layer that calls add_loss."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(2048, 32)).astype("float32")
y = x @ random.normal(size=(32, 1)) / 6


class Penalty(layers.Layer):
    """Passes its input on and asks for small values."""

    def call(self, inputs):
        size = ops.sum(ops.square(inputs))  # <- culprit
        self.add_loss(1e-6 * ops.cast(size, "float32"))
        return inputs


wide = keras.initializers.RandomNormal(stddev=0.5)
inputs = keras.Input((32,))
hidden = layers.Dense(256, activation="relu", kernel_initializer=wide)(inputs)
model = keras.Model(inputs, layers.Dense(1)(Penalty(name="penalty")(hidden)))
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit(x, y, batch_size=256, epochs=10, verbose=0)
