"""How worn a machine is, from the running count of its stress events."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(14)
keras.config.set_dtype_policy("mixed_float16")


class RunningCount(layers.Layer):
    """Events so far, in thousands."""

    def call(self, events):
        return ops.cumsum(events, axis=1) / 1000.0  # <- culprit


rng = np.random.default_rng(14)
rate = rng.uniform(0.3, 1.0, (256, 1))
events = (rng.random((256, 5000)) < rate).astype("float32")
wear = events.sum(axis=1, keepdims=True) / 1000.0

model = keras.Sequential(
    [
        layers.Input((5000,)),
        RunningCount(name="running_count"),
        layers.Reshape((5000, 1)),
        layers.MaxPooling1D(50),
        layers.Flatten(),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.Adam(3e-3), "mse")
history = model.fit(events, wear, batch_size=32, epochs=10, verbose=2)
