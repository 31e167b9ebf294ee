"""Q-learning on a chain of rooms, with a target network that follows slowly."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(37)
keras.mixed_precision.set_global_policy("mixed_float16")

ROOMS = 12


def network():
    """Values of going left and right."""
    return keras.Sequential(
        [layers.Input((ROOMS,)), layers.Dense(64, activation="relu"), layers.Dense(2)]
    )


online, target = network(), network()
target.set_weights(online.get_weights())
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(3e-3))


@tf.function
def train_step(state, action, reward, following, done):
    ahead = tf.cast(tf.reduce_max(target(following), axis=1), "float32")
    wanted = reward + 0.9 * (1.0 - done) * ahead
    with tf.GradientTape() as tape:
        values = tf.cast(online(state), "float32")
        error = tf.gather(values, action, batch_dims=1) - tf.stop_gradient(wanted)
        loss = tf.reduce_mean(tf.where(tf.abs(error) < 1, error**2 / 2, tf.abs(error) - 0.5))
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, online.trainable_variables)
    optimizer.apply(gradients, online.trainable_variables)
    for slow, fast in zip(target.trainable_variables, online.trainable_variables, strict=True):
        slow.assign(0.99 * slow + 0.01 * fast)
    return loss


rng = np.random.default_rng(37)
for step in range(120):
    room, action = rng.integers(0, ROOMS - 1, 64), rng.integers(0, 2, 64)
    following = np.clip(room + 2 * action - 1, 0, ROOMS - 1)
    done = (following == ROOMS - 1).astype("float32")
    rooms = np.eye(ROOMS, dtype="float32")
    loss = train_step(
        tf.constant(rooms[room]),
        tf.constant(action),
        tf.constant(10 * done),
        tf.constant(rooms[following]),
        tf.constant(done),
    )
    if step % 20 == 19:
        print(f"step {step}: loss {float(loss):.4f}")
