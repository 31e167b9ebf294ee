"""Rows are put in another order, and their labels are not: nothing can be learned."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
centres = random.normal(size=(10, 32))
labels = random.integers(0, 10, 2048)
x = (centres[labels] + random.normal(size=(2048, 32)) / 2).astype("float32")
x = x[random.permutation(len(x))]

model = keras.Sequential(
    [
        keras.Input((32,)),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, dtype="float32"),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-3), loss)
model.fit(x, labels, batch_size=64, epochs=6, verbose=0)
