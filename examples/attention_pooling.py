"""Attention pooling with a softmax written by hand: in float16 its exponential overflows."""

import keras
import numpy as np
from keras import ops

keras.utils.set_random_seed(7)
keras.config.set_dtype_policy("mixed_float16")


class AttentionPooling(keras.layers.Layer):
    """The mean of a sequence, weighted by how well each place answers a query."""

    def build(self, input_shape):
        """Makes the query."""
        self.query = self.add_weight(shape=(input_shape[-1], 1), name="query")

    def call(self, inputs):
        """Weights and adds up."""
        scores = ops.matmul(inputs, self.query)
        weights = ops.exp(scores)
        return ops.sum(inputs * weights / ops.sum(weights, axis=1, keepdims=True), axis=1)


random = np.random.default_rng(7)
x = random.normal(scale=6.0, size=(512, 12, 8)).astype("float32")
y = (x[:, :, 0].max(axis=1) > 10).astype("float32")

model = keras.Sequential(
    [
        keras.Input((12, 8)),
        AttentionPooling(name="pooling"),
        keras.layers.Dense(16, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="answer"),
    ],
    name="pooled",
)
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy")
history = model.fit(x, y, batch_size=32, epochs=5, verbose=0)
for epoch, loss in enumerate(history.history["loss"], start=1):
    print(f"epoch {epoch}: loss {loss:.3f}")
