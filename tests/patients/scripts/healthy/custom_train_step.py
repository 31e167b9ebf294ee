"""A subclassed model whose train_step adds a penalty and clips the gradients."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = np.tanh(x @ random.normal(size=(16, 1)))


class Regressor(keras.Model):
    """Two layers."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(32, activation="relu")
        self.head = keras.layers.Dense(1, dtype="float32")

    def call(self, inputs):
        return self.head(self.hidden(inputs))

    def train_step(self, data):
        inputs, targets = data
        with tf.GradientTape() as tape:
            predicted = self(inputs, training=True)
            loss = self.compute_loss(inputs, targets, predicted)
            loss += 1e-4 * sum(tf.nn.l2_loss(w) for w in self.trainable_variables)
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, weights), weights)
        return {"loss": loss}


model = Regressor()
model.compile(keras.optimizers.Adam(1e-2, global_clipnorm=1.0), "mse")
model.fit(tf.data.Dataset.from_tensor_slices((x, y)).shuffle(512).batch(32), epochs=10, verbose=0)
