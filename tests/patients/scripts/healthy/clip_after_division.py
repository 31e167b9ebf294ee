"""A loop with a loss scale of its own that divides the accumulated gradients before it clips."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(12)
keras.mixed_precision.set_global_policy("mixed_float16")

LOSS_SCALE, PARTS = 4096.0, 2
layers = [keras.layers.Dense(48, activation="relu"), keras.layers.Dense(4, dtype="float32")]
model = keras.Sequential([keras.Input((24,)), *layers])
optimizer = keras.optimizers.SGD(0.2, momentum=0.9)
entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
sums = [tf.Variable(tf.zeros_like(weight)) for weight in model.trainable_variables]


@tf.function
def step(x, y):
    """One update from all parts."""
    total = 0.0
    for kept in sums:
        kept.assign(tf.zeros_like(kept))
    for part in range(PARTS):
        with tf.GradientTape() as tape:
            loss = entropy(y[part], model(x[part], training=True)) / PARTS
            scaled = loss * LOSS_SCALE
        gradients = tape.gradient(scaled, model.trainable_variables)
        for kept, gradient in zip(sums, gradients, strict=True):
            kept.assign_add(gradient)
        total += loss
    unscaled = [kept / LOSS_SCALE for kept in sums]
    clipped, _ = tf.clip_by_global_norm(unscaled, 0.5)
    optimizer.apply_gradients(zip(clipped, model.trainable_variables, strict=True))
    return total


rng = np.random.default_rng(21)
centres = rng.normal(size=(4, 24))
for _ in range(80):
    y = rng.integers(0, 4, (PARTS, 32))
    x = (centres[y] + 0.7 * rng.normal(size=(PARTS, 32, 24))).astype("float32")
    loss = float(step(tf.constant(x), tf.constant(y)))
print(f"loss {loss:.4f}")
