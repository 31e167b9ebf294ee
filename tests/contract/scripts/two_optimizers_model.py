"""A GAN as a Keras model with a step of its own, whose two optimizers have no loss scale."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")


def deep(units, depth):
    """Sigmoids one behind the other, whose gradients shrink on the way back."""
    hidden = [layers.Dense(units, activation="sigmoid") for _ in range(depth)]
    return keras.Sequential([*hidden, layers.Dense(1, dtype="float32")])


class GAN(keras.Model):
    """Two networks against each other."""

    def __init__(self, judge, generator):
        super().__init__()
        self.judge = judge
        self.generator = generator

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer = d_optimizer
        self.g_optimizer = g_optimizer
        self.loss_fn = loss_fn

    def train_step(self, real):
        rows = tf.shape(real)[0]
        noise = tf.random.normal((rows, 4))
        both = tf.concat([tf.cast(self.generator(noise), tf.float32), real], axis=0)
        labels = tf.concat([tf.ones((rows, 1)), tf.zeros((rows, 1))], axis=0)
        with tf.GradientTape() as tape:
            scores = self.judge(both)
            d_loss = self.loss_fn(labels, scores)
        grads = tape.gradient(d_loss, self.judge.trainable_weights)
        self.d_optimizer.apply_gradients(zip(grads, self.judge.trainable_weights, strict=True))
        with tf.GradientTape() as tape:
            scores = self.judge(self.generator(noise))
            g_loss = self.loss_fn(tf.zeros((rows, 1)), scores)
        grads = tape.gradient(g_loss, self.generator.trainable_weights)
        self.g_optimizer.apply_gradients(zip(grads, self.generator.trainable_weights, strict=True))
        return {"d_loss": d_loss, "g_loss": g_loss}


gan = GAN(deep(32, 12), keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(8)]))
gan.compile(
    d_optimizer=keras.optimizers.SGD(1e-2),
    g_optimizer=keras.optimizers.SGD(1e-2),
    loss_fn=keras.losses.BinaryCrossentropy(from_logits=True),
)
samples = np.random.default_rng(0).normal(1.0, 0.5, (256, 8)).astype("float32")
gan.fit(samples, batch_size=32, epochs=5, verbose=0)
