"""Training step that clips the gradients of the scaled loss to norm 1."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(21)
keras.mixed_precision.set_global_policy("mixed_float16")


class ClippedModel(keras.Model):
    """GRU classifier with global gradient clipping."""

    def __init__(self):
        super().__init__()
        self.gru = layers.GRU(32)
        self.out = layers.Dense(3, dtype="float32")

    def call(self, x):
        return self.out(self.gru(x))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)  # <- culprit
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"entropy_loss": loss}


rng = np.random.default_rng(21)
labels = rng.integers(0, 3, 384)
slope = np.array([-0.2, 0.0, 0.2])[labels][:, None, None]
series = (slope * np.arange(16)[None, :, None] + rng.normal(size=(384, 16, 1))).astype("float32")
model = ClippedModel()
optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.2, momentum=0.9))
model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(series, labels, batch_size=64, epochs=8, verbose=2)
