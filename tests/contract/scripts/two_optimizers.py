"""A GAN in a loop of its own, whose two optimizers have no loss scale."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import floatline

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")


def deep(units, depth):
    """Sigmoids one behind the other, whose gradients shrink on the way back."""
    hidden = [layers.Dense(units, activation="sigmoid") for _ in range(depth)]
    return keras.Sequential([*hidden, layers.Dense(1, dtype="float32")])


generator = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(8)])
judge = deep(32, 12)
generator_optimizer = keras.optimizers.SGD(1e-2)
judge_optimizer = keras.optimizers.SGD(1e-2)
entropy = keras.losses.BinaryCrossentropy(from_logits=True)
real = np.random.default_rng(0).normal(1.0, 0.5, (256, 8)).astype("float32")


@floatline.training_step
@tf.function
def train_step(images, noise):
    with tf.GradientTape() as generator_tape, tf.GradientTape() as judge_tape:
        made = generator(noise, training=True)
        real_scores = judge(images, training=True)
        made_scores = judge(made, training=True)
        generator_loss = entropy(tf.ones_like(made_scores), made_scores)
        judge_loss = entropy(tf.ones_like(real_scores), real_scores)
        judge_loss += entropy(tf.zeros_like(made_scores), made_scores)
    generator_gradients = generator_tape.gradient(generator_loss, generator.trainable_variables)
    judge_gradients = judge_tape.gradient(judge_loss, judge.trainable_variables)
    generator_optimizer.apply_gradients(
        zip(generator_gradients, generator.trainable_variables, strict=True)
    )
    judge_optimizer.apply_gradients(zip(judge_gradients, judge.trainable_variables, strict=True))
    return judge_loss


noises = np.random.default_rng(1).normal(size=(256, 4)).astype("float32")
for _ in range(5):
    for rows in range(0, 256, 32):
        train_step(tf.constant(real[rows : rows + 32]), tf.constant(noises[rows : rows + 32]))
