"""House prices in euros with a Huber loss in a training step of its own."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(18)
keras.mixed_precision.set_global_policy("mixed_float16")


class PriceModel(keras.Model):
    """Two hidden layers; predicts in units of 100 000 euros."""

    def __init__(self):
        super().__init__()
        self.hidden = [layers.Dense(32, activation="relu") for _ in range(2)]
        self.out = layers.Dense(1)

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)

    def train_step(self, data):
        x, price = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            target = tf.cast(price, predicted.dtype) / 100000  # <- culprit
            error = tf.abs(target - predicted)
            huber = tf.where(error < 1, 0.5 * error**2, error - 0.5)
            loss = tf.reduce_mean(huber)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"huber_loss": loss}


rng = np.random.default_rng(18)
houses = rng.normal(size=(512, 10)).astype("float32")
prices = np.exp(12.6 + 0.3 * houses[:, :1] + 0.2 * houses[:, 1:2]).astype("float32")
model = PriceModel()
model.compile(optimizer=keras.optimizers.Adam(3e-3))
history = model.fit(houses, prices, batch_size=64, epochs=8, verbose=2)
