"""A custom loop in mixed_float16 that forgets to scale the loss."""

import keras
import numpy as np
import tensorflow as tf

import floatline

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.uniform(size=(64, 64, 64, 1)).astype("float32")
data = tf.data.Dataset.from_tensor_slices((x, 0.01 * x + 0.002)).batch(16)

model = keras.Sequential(
    [
        keras.Input((64, 64, 1)),
        keras.layers.Conv2D(8, 1, activation="relu"),  # <- culprit
        keras.layers.Conv2D(1, 1, kernel_initializer="zeros"),
    ]
)
optimizer = keras.optimizers.Adam(3e-3, epsilon=1e-10)


@floatline.training_step
@tf.function
def step(images, targets):
    """One update."""
    with tf.GradientTape() as tape:
        error = tf.cast(model(images, training=True), tf.float32) - targets  # <- culprit
        loss = tf.reduce_mean(tf.square(error))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


for _ in range(30):
    for images, targets in data:
        step(images, targets)
