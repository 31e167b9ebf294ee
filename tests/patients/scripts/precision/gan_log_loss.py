"""GAN with the losses of the paper, logarithms of clipped probabilities, in its own loop."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(5)
keras.mixed_precision.set_global_policy("mixed_float16")

generator = keras.Sequential([layers.Dense(32, activation="relu"), layers.Dense(2)])
discriminator = keras.Sequential(
    [
        layers.Dense(64, activation="relu"),
        layers.Dense(64, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ]
)
generator.build((None, 8))
discriminator.build((None, 2))
generator_optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2))
discriminator_optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2))


@tf.function
def train_step(real):
    noise = tf.random.normal((64, 8))
    with tf.GradientTape() as tape_d, tf.GradientTape() as tape_g:
        fake = generator(noise, training=True)
        p_real = tf.clip_by_value(discriminator(real, training=True), 1e-7, 1 - 1e-7)
        p_fake = tf.clip_by_value(discriminator(fake, training=True), 1e-7, 1 - 1e-7)
        loss_d = -tf.reduce_mean(tf.math.log(p_real) + tf.math.log(1 - p_fake))  # <- culprit
        loss_g = -tf.reduce_mean(tf.math.log(p_fake))
        scaled_d = discriminator_optimizer.scale_loss(loss_d)
        scaled_g = generator_optimizer.scale_loss(loss_g)
    variables = discriminator.trainable_variables
    discriminator_optimizer.apply(tape_d.gradient(scaled_d, variables), variables)
    variables = generator.trainable_variables
    generator_optimizer.apply(tape_g.gradient(scaled_g, variables), variables)
    return loss_d, loss_g


rng = np.random.default_rng(5)
angles = rng.uniform(0, 2 * np.pi, (1024, 1))
ring = 60 * np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
for epoch in range(15):
    for batch in range(0, 1024, 64):
        loss_d, loss_g = train_step(tf.constant(ring[batch : batch + 64]))
    print(f"epoch {epoch}: d {float(loss_d):.4f}, g {float(loss_g):.4f}")
