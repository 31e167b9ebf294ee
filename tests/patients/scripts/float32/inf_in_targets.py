"""A target that was divided by zero when the data were prepared."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = x @ random.normal(size=(16, 1)) / 4
y[100] = np.inf

data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
inputs = keras.Input((16,))
hidden = keras.layers.Dense(32, activation="relu")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
model.compile(keras.optimizers.SGD(1e-2), "mse", auto_scale_loss=False)
model.fit(data, epochs=3, verbose=0)
