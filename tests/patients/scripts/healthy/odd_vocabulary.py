"""A vocabulary of 4001 words: trains as it should, and misses the tensor cores of a GPU."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_bfloat16")

WORDS = 4001
random = np.random.default_rng(0)
words = random.integers(0, WORDS, (192, 81)).astype("int32")
words[:, 1::2] = (words[:, :-1:2] + 1) % WORDS

inputs = keras.Input((80,), dtype="int32")
hidden = layers.Dense(256, "relu")(layers.Embedding(WORDS, 64)(inputs))
logits = layers.Activation("linear", dtype="float32")(layers.Dense(WORDS)(hidden))
model = keras.Model(inputs, logits)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-3), loss)
model.fit(words[:, :-1], words[:, 1:], batch_size=8, verbose=0)
