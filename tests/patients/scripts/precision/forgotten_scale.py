"""Training loop with a LossScaleOptimizer whose loss is never scaled."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(20)
keras.mixed_precision.set_global_policy("mixed_float16")

model = keras.Sequential(
    [
        layers.Input((20,)),
        layers.Dense(64, activation="relu"),
        layers.Dense(64, activation="relu"),
        layers.Dense(5, dtype="float32"),
    ]
)
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = cross_entropy(y, model(x, training=True))  # <- culprit
    gradients = tape.gradient(loss, model.trainable_variables)  # <- culprit
    optimizer.apply(gradients, model.trainable_variables)
    return loss


rng = np.random.default_rng(20)
labels = rng.integers(0, 5, 640)
features = (rng.normal(size=(5, 20))[labels] + rng.normal(size=(640, 20))).astype("float32")
for epoch in range(8):
    for start in range(0, 640, 64):
        loss = train_step(
            tf.constant(features[start : start + 64]), tf.constant(labels[start : start + 64])
        )
    print(f"epoch {epoch}: loss {float(loss):.4f}")
