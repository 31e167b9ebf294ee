"""A function that is told which batch to take, and reports its loss; rows are made unit vectors."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(1024, 12)) * 300
y = (x[:, 0] > x[:, 1]).astype("int64")


class Unit(keras.layers.Layer):
    """Rows of length 1."""

    def call(self, inputs):
        squares = inputs**2  # <- culprit
        return inputs / tf.sqrt(tf.reduce_sum(squares, axis=-1, keepdims=True))


inputs = keras.Input((12,))
hidden = Unit(name="unit")(keras.layers.Dense(64, activation="relu")(inputs))
model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(hidden))
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(3e-3))
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train_on(number, size=64):
    rows = slice(number * size, (number + 1) * size)
    features, labels = x[rows], y[rows]
    with tf.GradientTape() as tape:
        loss = cross_entropy(labels, model(features, training=True))
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, model.trainable_weights)
    optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    return float(loss)


for _ in range(8):
    losses = [train_on(number) for number in range(16)]
