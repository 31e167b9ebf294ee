"""Six pre-norm blocks whose branches are large: the residual stream passes 65504."""

import keras
import numpy as np
from keras import layers
from keras.initializers import RandomNormal

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4


def block(stream):
    """Adds one feed-forward branch to the stream."""
    hidden = layers.LayerNormalization()(stream)
    hidden = layers.Dense(128, activation="relu", kernel_initializer=RandomNormal(stddev=2.0))(
        hidden
    )
    branch = layers.Dense(64, kernel_initializer=RandomNormal(stddev=160.0))(hidden)  # <- culprit
    return layers.Add()([stream, branch])  # <- culprit


inputs = keras.Input((16,))
stream = layers.Dense(64)(inputs)
for _ in range(6):
    stream = block(stream)
outputs = layers.Dense(1)(layers.LayerNormalization()(stream))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(1e-3), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
