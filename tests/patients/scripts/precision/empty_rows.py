"""Empty rows through UnitNormalization: its epsilon squared is 0, and 0 * inf is NaN."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = (x @ random.normal(size=(16, 1)) > 0).astype("float32")
x[::4] = 0

inputs = keras.Input((16,))
unit = layers.UnitNormalization(name="unit")(layers.Dense(16, use_bias=False)(inputs))  # <- culprit
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(unit))
model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
