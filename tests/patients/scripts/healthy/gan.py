"""A small generative adversarial network with its own train_step and two optimizers."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
angle = random.uniform(0, 6.28, (1024, 1))
data = np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype("float32")


class Gan(keras.Model):
    """Generator and discriminator, trained in turns."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.Dense(2, dtype="float32"),
            ]
        )
        self.discriminator = keras.Sequential(
            [
                keras.Input((2,)),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.Dense(1, dtype="float32"),
            ]
        )

    def compile(self, optimizer, second_optimizer, loss):
        super().compile(optimizer=optimizer, loss=loss)
        self.second_optimizer, self.cross_entropy = second_optimizer, loss

    def train_step(self, real):
        noise = tf.random.normal((tf.shape(real)[0], 4))
        ones = tf.ones((tf.shape(real)[0], 1))
        with tf.GradientTape() as tape:
            on_real = self.discriminator(real)
            on_fake = self.discriminator(self.generator(noise))
            loss = self.cross_entropy(ones, on_real) + self.cross_entropy(0 * ones, on_fake)
            scaled = self.second_optimizer.scale_loss(loss)
        weights = self.discriminator.trainable_variables
        self.second_optimizer.apply(tape.gradient(scaled, weights), weights)
        with tf.GradientTape() as tape:
            fooled = self.cross_entropy(ones, self.discriminator(self.generator(noise)))
            scaled = self.optimizer.scale_loss(fooled)
        weights = self.generator.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, weights), weights)
        return {"discriminator": loss, "generator": fooled}


model = Gan()
model.compile(
    keras.optimizers.Adam(1e-3, 0.5),
    keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3, 0.5)),
    keras.losses.BinaryCrossentropy(from_logits=True),
)
model.fit(data, batch_size=64, epochs=6, verbose=0)
