"""A normalisation over the batch with epsilon 1e-8, and two units that are always 0."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4


class BatchNorm(layers.Layer):
    """Zero mean and unit variance over the batch."""

    def call(self, t):
        mean = ops.mean(t, axis=0, keepdims=True)
        variance = ops.mean(ops.square(t - mean), axis=0, keepdims=True)
        return (t - mean) / ops.sqrt(variance + 1e-8)  # <- culprit


bias = np.zeros(32)
bias[:2] = -9
model = keras.Sequential(
    [
        keras.Input((16,)),
        layers.Dense(
            32,
            activation="relu",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.3),
            bias_initializer=lambda shape, dtype=None: ops.convert_to_tensor(bias, dtype),
        ),
        BatchNorm(name="norm"),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
