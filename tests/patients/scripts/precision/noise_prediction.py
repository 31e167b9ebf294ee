"""Denoising network that turns its guess of the image into a guess of the noise."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(3)
keras.mixed_precision.set_global_policy("mixed_float16")

betas = np.linspace(1e-4, 0.02, 200)
alpha_bars = np.cumprod(1 - betas).astype("float32")


class NoiseFromImage(layers.Layer):
    """Noise that is left when the image is taken away."""

    def call(self, inputs):
        noisy, image, alpha_bar = inputs
        alpha_bar = ops.reshape(alpha_bar, (-1, 1, 1, 1))
        return (noisy - ops.sqrt(alpha_bar) * image) / ops.sqrt(1.0 - alpha_bar)  # <- culprit


rng = np.random.default_rng(3)
rows, columns = np.meshgrid(np.arange(16), np.arange(16))
centres = rng.integers(4, 12, (320, 2, 1, 1))
images = (np.hypot(rows - centres[:, 0], columns - centres[:, 1]) < 4) * 2.0 - 1.0
images = images[..., None].astype("float32")
steps = rng.integers(0, 200, 320)
steps[::20] = 0
rates = alpha_bars[steps]
noise = rng.normal(size=images.shape).astype("float32")
mix = rates[:, None, None, None]
noisy = np.sqrt(mix) * images + np.sqrt(1 - mix) * noise

image_input, rate_input = keras.Input((16, 16, 1)), keras.Input((1,))
time = layers.Dense(16, activation="swish")(rate_input)
down = layers.Conv2D(16, 3, padding="same", activation="swish")(image_input)
x = layers.AveragePooling2D(2)(down)
x = layers.Conv2D(16, 3, padding="same", activation="swish")(x) + time[:, None, None, :]
x = layers.Concatenate()([layers.UpSampling2D()(x), down])
guess = layers.Conv2D(1, 3, padding="same")(x)
outputs = NoiseFromImage(name="noise_from_image")([image_input, guess, rate_input])
model = keras.Model([image_input, rate_input], outputs)
model.compile(keras.optimizers.Adam(3e-3), "mae")
history = model.fit([noisy, rates[:, None]], noise, batch_size=32, epochs=6, verbose=2)
