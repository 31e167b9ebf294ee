"""Small vectors through UnitNormalization: they cost a lower loss scale and train."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32") * 1e-2
y = (x @ random.normal(size=(16, 1)) > 0).astype("float32")

model = keras.Sequential(
    [keras.Input((16,)), layers.Dense(16), layers.UnitNormalization(), layers.Dense(1)]
)
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(x, y, batch_size=32, epochs=15, verbose=0)
