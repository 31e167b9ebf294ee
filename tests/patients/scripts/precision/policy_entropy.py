"""Policy gradient with an entropy bonus for a confident player."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(24)
keras.mixed_precision.set_global_policy("mixed_float16")

policy = keras.Sequential(
    [
        layers.Input((6,)),
        layers.Dense(64, activation="relu"),
        layers.Dense(4, activation="softmax", name="actions"),
    ]
)
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(3e-3))


@tf.function
def train_step(states, actions, returns):
    with tf.GradientTape() as tape:
        probabilities = policy(states, training=True)
        chosen = tf.gather(probabilities, actions, batch_dims=1)
        entropy = -tf.reduce_sum(  # <- culprit
            probabilities * tf.math.log(probabilities + 1e-10),  # <- culprit
            axis=1,
        )
        gain = tf.cast(returns, chosen.dtype) * tf.math.log(chosen + 1e-3)
        loss = -tf.reduce_mean(tf.cast(gain + 0.01 * entropy, "float32"))
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, policy.trainable_variables)
    optimizer.apply(gradients, policy.trainable_variables)
    return loss


rng = np.random.default_rng(24)
states = (20 * rng.normal(size=(640, 6))).astype("float32")
best = states[:, :4].argmax(axis=1)
for epoch in range(10):
    chosen = np.where(rng.random(640) < 0.5, best, rng.integers(0, 4, 640)).astype("int32")
    returns = np.where(chosen == best, 1.0, -0.2).astype("float32")
    for start in range(0, 640, 64):
        part = slice(start, start + 64)
        loss = train_step(
            tf.constant(states[part]), tf.constant(chosen[part]), tf.constant(returns[part])
        )
    print(f"epoch {epoch}: loss {float(loss):.4f}")
