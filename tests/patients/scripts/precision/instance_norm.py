"""Instance normalisation of raw 0..255 images: the variance is infinite, the output 0."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.uniform(0, 255, (128, 16, 16, 3)).astype("float32")
y = np.arange(128) % 2
x[y == 1, :8] *= 0.2


class InstanceNorm(layers.Layer):
    """Zero mean and unit variance per image and channel."""

    def call(self, t):
        mean = ops.mean(t, axis=(1, 2), keepdims=True)
        variance = ops.mean(ops.square(t - mean), axis=(1, 2), keepdims=True)  # <- culprit
        return (t - mean) / ops.sqrt(variance + 1e-3)


model = keras.Sequential(
    [
        keras.Input((16, 16, 3)),
        layers.Conv2D(
            16,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.7),
        ),
        InstanceNorm(name="instance_norm"),
        layers.AveragePooling2D(8),
        layers.Flatten(),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y.astype("float32"), batch_size=32, epochs=15, verbose=0)
