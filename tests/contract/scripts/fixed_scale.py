"""A loop on TensorFlow at a fixed loss scale, a bare number that is far too high."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import floatline

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

x = np.random.default_rng(0).uniform(0.5, 1.5, (256, 16)).astype("float32")
y = 10.0 * x.mean(axis=1, keepdims=True)
model = keras.Sequential([layers.Dense(32, activation="relu"), layers.Dense(1)])
model.build((None, 16))
optimizer = keras.optimizers.SGD(1e-3)


@floatline.training_step
@tf.function
def train_step(inputs, targets):
    with tf.GradientTape() as tape:
        outputs = tf.cast(model(inputs, training=True), tf.float32)
        loss = tf.reduce_mean(tf.square(outputs - targets))
        scaled = loss * 65536.0
    gradients = tape.gradient(scaled, model.trainable_variables)
    gradients = [gradient / 65536.0 for gradient in gradients]
    optimizer.apply(gradients, model.trainable_variables)
    return loss


for _ in range(5):
    for rows in range(0, 256, 32):
        train_step(tf.constant(x[rows : rows + 32]), tf.constant(y[rows : rows + 32]))
