"""A custom loop with loss scaling and a GRU."""

import keras
import numpy as np
import tensorflow as tf

import floatline

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(256, 10, 4)).astype("float32")
y = x.mean(axis=1)[:, :1]
model = keras.Sequential([keras.Input((10, 4)), keras.layers.GRU(16), keras.layers.Dense(1)])
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2))


@floatline.training_step
@tf.function
def step(inputs, targets):
    """One update."""
    with tf.GradientTape() as tape:
        predicted = tf.cast(model(inputs, training=True), tf.float32)
        loss = tf.reduce_mean(tf.square(predicted - targets))
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


for _ in range(10):
    for start in range(0, 256, 32):
        step(x[start : start + 32], y[start : start + 32])
