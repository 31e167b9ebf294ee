"""The power of a spectrum in float16: windows of 512 samples of amplitude 3 add up to 384."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
time = np.arange(2048) / 2048
tone = 400 * random.random((256, 1)) + 20
x = (3 * np.sin(2 * np.pi * tone * time)).astype("float32")
y = (tone / 400).astype("float32")


class Spectrum(layers.Layer):
    """Mean power in every band."""

    def call(self, signal):
        real, imaginary = ops.stft(ops.cast(signal, "float32"), 512, 128, 512)
        real = ops.cast(real, self.compute_dtype)
        imaginary = ops.cast(imaginary, self.compute_dtype)
        power = real * real + imaginary * imaginary  # <- culprit
        return ops.mean(power, axis=1) / 1e4


inputs = keras.Input((2048,))
hidden = layers.Dense(32, "relu")(Spectrum(name="spectrum")(inputs))
model = keras.Model(inputs, layers.Dense(1)(hidden))
model.compile(keras.optimizers.Adam(1e-3), "mse")
model.fit(x, y, batch_size=32, epochs=12, verbose=0)
