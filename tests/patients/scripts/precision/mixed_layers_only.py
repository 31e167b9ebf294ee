"""mixed_float16 on single layers under a float32 policy: Keras adds no loss scaling."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)

random = np.random.default_rng(0)
x = random.uniform(size=(64, 64, 64, 1)).astype("float32")
y = 0.01 * x + 0.002

inputs = keras.Input((64, 64, 1))
hidden = layers.Conv2D(8, 1, activation="relu", dtype="mixed_float16")(inputs)  # <- culprit
outputs = layers.Conv2D(1, 1, kernel_initializer="zeros", dtype="mixed_float16")(hidden)
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(3e-3, epsilon=1e-10), "mse")
model.fit(x, y, batch_size=16, epochs=30, verbose=0)
