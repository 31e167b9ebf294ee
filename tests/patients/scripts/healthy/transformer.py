"""A small causal transformer on padded token sequences."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
lengths = random.integers(4, 17, 256)
steps = random.integers(1, 5, (256, 1))
tokens = 1 + (np.arange(17) * steps + random.integers(0, 30, (256, 1))) % 30
x, y = tokens[:, :-1].copy(), tokens[:, 1:]
x[np.arange(16) >= lengths[:, None]] = 0

inputs = keras.Input((16,), dtype="int32")
stream = layers.Embedding(31, 32, mask_zero=True)(inputs)
for _ in range(2):
    normed = layers.LayerNormalization()(stream)
    attended = layers.MultiHeadAttention(4, 8, dropout=0.1)(normed, normed, use_causal_mask=True)
    stream = layers.Add()([stream, attended])
    hidden = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(stream))
    stream = layers.Add()([stream, layers.Dense(32)(hidden)])
outputs = layers.Dense(31, dtype="float32")(stream)
model = keras.Model(inputs, outputs)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.AdamW(3e-3), loss, weighted_metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
