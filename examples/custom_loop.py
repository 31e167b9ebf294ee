"""A training loop written by hand; the mark tells Floatline which function is one step."""

import keras
import numpy as np
import tensorflow as tf

import floatline

keras.utils.set_random_seed(7)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(7)
x = random.random((100, 10), dtype="float32")
y = random.integers(0, 2, (100, 1)).astype("float32")
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)

model = keras.Sequential(
    [
        keras.Input((10,)),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid", dtype="float32"),
    ]
)
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3))
loss_function = keras.losses.BinaryCrossentropy()


@floatline.training_step
@tf.function
def training_step(inputs, targets):
    with tf.GradientTape() as tape:
        loss = loss_function(targets, model(inputs, training=True))
        scaled_loss = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled_loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


for _epoch in range(10):
    for inputs, targets in data:
        loss = training_step(inputs, targets)
print(f"loss {float(loss):.3f}")
