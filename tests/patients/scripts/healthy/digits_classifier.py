"""A classifier of handwritten digits that fits its data well."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

x, y = load_digits(return_X_y=True)
x = (x / 16).astype("float32")
model = keras.Sequential(
    [
        keras.Input((64,)),
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax", dtype="float32"),
    ]
)
model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y.astype(np.int32), batch_size=64, epochs=20, verbose=0)
