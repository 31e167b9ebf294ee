"""A contrastive loss in a train_step: exp of similarities divided by a small temperature."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 24)).astype("float32")
other = x + 0.1 * random.normal(size=x.shape).astype("float32")


class Contrastive(keras.Model):
    """Brings two views of the same row together."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential(
            [keras.layers.Dense(32, activation="relu"), keras.layers.Dense(16)]
        )

    def train_step(self, data):
        first, second = data
        with tf.GradientTape() as tape:
            left = tf.math.l2_normalize(self.encoder(first, training=True), axis=1)
            right = tf.math.l2_normalize(self.encoder(second, training=True), axis=1)
            similar = tf.exp(tf.matmul(left, right, transpose_b=True) / 0.07)  # <- culprit
            share = tf.linalg.diag_part(similar) / tf.reduce_sum(similar, axis=1)
            loss = -tf.reduce_mean(tf.cast(tf.math.log(share), tf.float32))
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


model = Contrastive()
model.encoder.build((None, 24))
model.compile(keras.optimizers.Adam(1e-3))
model.fit(x, other, batch_size=64, epochs=5, verbose=0)
