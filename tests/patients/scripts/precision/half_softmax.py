"""200 classes with a float16 softmax at the end: probabilities vanish, and so do gradients."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
centres = 3 * random.normal(size=(200, 32))
y = random.integers(0, 200, 1024)
x = (centres[y] + random.normal(size=(1024, 32))).astype("float32")

wide = keras.initializers.RandomNormal(stddev=1.0)
model = keras.Sequential(
    [
        keras.Input((32,)),
        layers.Dense(200, activation="softmax", kernel_initializer=wide),  # <- culprit
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
model.fit(x, y, batch_size=64, epochs=20, verbose=0)
