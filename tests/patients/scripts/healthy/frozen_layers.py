"""Transfer: a frozen base without gradients and a new head."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 8, 8, 3)).astype("float32")
y = (x.mean(axis=(1, 2, 3)) > 0).astype("float32")

base = keras.Sequential(
    [
        keras.Input((8, 8, 3)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Flatten(),
    ],
    name="base",
)
base.trainable = False
inputs = keras.Input((8, 8, 3))
hidden = layers.Dense(32, activation="relu")(base(inputs, training=False))
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
