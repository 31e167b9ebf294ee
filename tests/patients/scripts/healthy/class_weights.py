"""Two outputs, class weights, accumulated gradients, eager execution."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = (x[:, 0] + random.normal(size=512) > 1).astype("int32")

inputs = keras.Input((16,))
hidden = layers.GaussianNoise(0.1)(layers.Dense(32, activation="elu")(inputs))
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
optimizer = keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2)
model.compile(optimizer, "binary_crossentropy", metrics=["auc"], run_eagerly=True)
model.fit(x, y, batch_size=64, epochs=8, class_weight={0: 1.0, 1: 4.0}, verbose=0)
