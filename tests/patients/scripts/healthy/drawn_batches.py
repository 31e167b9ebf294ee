"""Batches that NumPy draws in float64, in a loop that counts and anneals in Python."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 8))
y = 2 * x[:, :1] - x[:, 1:2]
model = keras.Sequential(
    [keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1, dtype="float32")]
)
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2))
history = []

for step in range(60):
    rows = random.integers(0, 512, 32)
    features, targets = x[rows], y[rows]
    targets = targets - targets.mean() * 0.1
    weight = min(1.0, (step + 1) / 20)
    with tf.GradientTape() as tape:
        loss = weight * tf.reduce_mean((targets - model(features, training=True)) ** 2)
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    history.append(float(loss))
