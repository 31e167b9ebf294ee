"""Physics-informed network for a damped oscillator in units near one."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(34)
keras.mixed_precision.set_global_policy("mixed_float16")


class Oscillator(keras.Model):
    """Displacement over time."""

    def __init__(self):
        super().__init__()
        self.hidden = [layers.Dense(32, activation="tanh") for _ in range(2)]
        self.out = layers.Dense(1, dtype="float32")

    def call(self, t):
        for layer in self.hidden:
            t = layer(t)
        return self.out(t)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                u = self(x)
            velocity = first.gradient(u, x)
        acceleration = second.gradient(velocity, x)
        residual = acceleration + 0.4 * velocity + 4.0 * u
        return tf.reduce_mean((u - y) ** 2) + 0.01 * tf.reduce_mean(residual**2)


times = np.random.default_rng(34).uniform(0, 4, (512, 1)).astype("float32")
motion = np.exp(-0.2 * times) * np.cos(2 * times)
model = Oscillator()
model.compile(keras.optimizers.Adam(5e-3))
history = model.fit(times, motion, batch_size=64, epochs=8, verbose=2)
