"""An auxiliary output with a loss weight of 1e-7: its gradients vanish and nobody misses them."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4

inputs = keras.Input((16,))
hidden = layers.Dense(64, activation="relu")(inputs)
hidden = layers.Dense(64, activation="relu")(hidden)
main, other = layers.Dense(1, name="main")(hidden), layers.Dense(1, name="other")(hidden)
model = keras.Model(inputs, [main, other])
model.compile(keras.optimizers.SGD(0.05), ["mse", "mse"], loss_weights=[1.0, 1e-9])
model.fit(x, [y, y], batch_size=32, epochs=15, verbose=0)
