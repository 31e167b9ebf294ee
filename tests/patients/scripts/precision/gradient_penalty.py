"""A critic with a gradient penalty: the penalty squares and sums gradients in float16."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.uniform(0, 255, (256, 256)).astype("float32")


class Critic(keras.Model):
    """Scores of real and noisy rows, with a penalty on the gradient by the input."""

    def __init__(self):
        super().__init__()
        wide = keras.initializers.RandomNormal(stddev=30.0)
        self.hidden = keras.layers.Dense(64, activation="relu", kernel_initializer=wide)
        self.head = keras.layers.Dense(1)

    def call(self, inputs):
        return self.head(self.hidden(inputs / 255))

    def train_step(self, real):
        noise = tf.cast(tf.random.uniform(tf.shape(real), 0, 255), tf.float16)
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(noise)
                score = self(noise, training=True)
            slope = 255 * inner.gradient(score, noise)
            norm = tf.reduce_sum(tf.square(slope), axis=1)  # <- culprit
            penalty = tf.reduce_mean(tf.square(tf.cast(norm, tf.float32) / 1e6 - 1))
            loss = tf.reduce_mean(tf.cast(score - self(real, training=True), tf.float32))
            loss += 1e-3 * penalty
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, weights), weights)
        return {"loss": loss}


model = Critic()
model.compile(keras.optimizers.Adam(1e-4))
model.fit(x, batch_size=32, epochs=5, verbose=0)
