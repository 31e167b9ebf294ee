"""Best alignment of a phrase to sound frames, its probability added up in log space by hand."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(22)
keras.mixed_precision.set_global_policy("mixed_float16")

IMPOSSIBLE = -1e10


def log_add(a, b):
    """Log of the sum of two probabilities given by their logs."""
    top = ops.maximum(a, b)
    return top + ops.log(ops.exp(a - top) + ops.exp(b - top))  # <- culprit


class Aligner(keras.Model):
    """Frame classifier trained on the phrase alone."""

    def __init__(self, symbols):
        super().__init__()
        self.conv = layers.Conv1D(32, 3, padding="same", activation="relu")
        self.logits = layers.Dense(symbols)

    def call(self, frames):
        return ops.log_softmax(self.logits(self.conv(frames)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        scores = ops.take_along_axis(y_pred, y[:, None, :], axis=2)
        rest = ops.full_like(scores[:, 0, 1:], IMPOSSIBLE)  # <- culprit
        state = ops.concatenate([scores[:, 0, :1], rest], axis=1)
        for frame in range(1, scores.shape[1]):
            before = state[:, :-1]
            shifted = ops.pad(before, ((0, 0), (1, 0)), constant_values=IMPOSSIBLE)  # <- culprit
            state = log_add(state, shifted) + scores[:, frame]
        return -ops.mean(ops.cast(state[:, -1], "float32"))


rng = np.random.default_rng(22)
phrases = rng.integers(0, 6, (256, 4))
spoken = np.repeat(phrases, 3, axis=1)
frames = (np.eye(6)[spoken] * 2 + rng.normal(size=(256, 12, 6)) * 0.5).astype("float32")
model = Aligner(6)
model.compile(keras.optimizers.Adam(1e-2))
history = model.fit(frames, phrases, batch_size=32, epochs=6, verbose=2)
