"""Physics-informed network for heat in a thin film, with lengths in metres."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(11)
keras.mixed_precision.set_global_policy("mixed_float16")

THICKNESS = 2e-4  # metres
DIFFUSIVITY = 1e-8  # square metres per second


class HeatNetwork(keras.Model):
    """Temperature over depth and time."""

    def __init__(self):
        super().__init__()
        self.hidden = [layers.Dense(32, activation="tanh") for _ in range(2)]
        self.out = layers.Dense(1)

    def call(self, inputs):
        depth, seconds = inputs[:, :1] / THICKNESS, inputs[:, 1:]  # <- culprit
        x = tf.concat([depth, seconds], axis=1)
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                u = self(x)
            slope = first.gradient(u, x)
            gradient = slope[:, :1]
        curvature = second.gradient(gradient, x)[:, :1]  # <- culprit
        residual = tf.cast(slope[:, 1:], "float32") - DIFFUSIVITY * tf.cast(curvature, "float32")
        data = tf.cast(u, "float32") - y
        return tf.reduce_mean(tf.square(data)) + tf.reduce_mean(tf.square(residual))


rng = np.random.default_rng(11)
points = rng.uniform(size=(512, 2)).astype("float32") * [THICKNESS, 1.0]
rate = DIFFUSIVITY * (2 * np.pi / THICKNESS) ** 2
heat = np.exp(-rate * points[:, 1:]) * np.sin(2 * np.pi * points[:, :1] / THICKNESS)
model = HeatNetwork()
model.compile(keras.optimizers.Adam(5e-3))
history = model.fit(
    points.astype("float32"), heat.astype("float32"), batch_size=64, epochs=8, verbose=2
)
