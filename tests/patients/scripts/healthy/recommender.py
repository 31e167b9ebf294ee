"""Embeddings of users and items, with most rows untouched in a step, and sample weights."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
users, items = random.integers(0, 5000, 2048), random.integers(0, 300, 2048)
taste = random.normal(size=(5000, 4))
kind = random.normal(size=(300, 4))
rating = (taste[users] * kind[items]).sum(axis=1).astype("float32")

user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
vectors = [layers.Embedding(5000, 8)(user), layers.Embedding(300, 8)(item)]
score = layers.Dot(axes=1)(vectors)
model = keras.Model([user, item], score)
model.compile(keras.optimizers.Adam(1e-2), "mse")
weight = random.uniform(0.5, 1.5, 2048)
model.fit([users, items], rating, sample_weight=weight, batch_size=64, epochs=6, verbose=0)
