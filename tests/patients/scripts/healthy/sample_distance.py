"""A generator of waiting times: each drawn sample is compared with each real one, on purpose."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
noise = random.normal(size=(2048, 4)).astype("float32")
waits = random.gamma(2.0, 1.5, size=2048).astype("float32")


class Generator(keras.Model):
    """Trained by the energy distance of what it draws to the real samples of the batch."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        drawn = ops.cast(y_pred, "float32")
        across = ops.mean(ops.abs(drawn - y))
        within = ops.mean(ops.abs(drawn - ops.transpose(drawn)))
        return 2.0 * across - within


inputs = keras.Input((4,))
hidden = layers.Dense(32, activation="relu")(inputs)
model = Generator(inputs, layers.Dense(1, dtype="float32")(hidden))
model.compile(keras.optimizers.Adam(3e-3))
model.fit(noise, waits, batch_size=64, epochs=6, verbose=0)
