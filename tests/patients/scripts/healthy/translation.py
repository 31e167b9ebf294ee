"""Encoder and decoder with padding and causal masks from Keras' own layers."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(32)
keras.mixed_precision.set_global_policy("mixed_float16")

rng = np.random.default_rng(32)
source = rng.integers(2, 20, (256, 8))
source[np.arange(8) >= rng.integers(2, 9, (256, 1))] = 0
target = np.where(source > 0, (source + 5) % 18 + 2, 0)
shifted = np.concatenate([np.ones((256, 1), int), target[:, :-1]], axis=1)

source_input = keras.Input((8,), dtype="int32")
target_input = keras.Input((8,), dtype="int32")
memory = layers.Embedding(20, 32, mask_zero=True)(source_input)
memory = layers.LayerNormalization()(memory + layers.MultiHeadAttention(2, 16)(memory, memory))
x = layers.Embedding(20, 32, mask_zero=True)(target_input)
x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 16)(x, x, use_causal_mask=True))
x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 16)(x, memory))
model = keras.Model([source_input, target_input], layers.Dense(20)(x))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
model.compile(keras.optimizers.Adam(3e-3), loss)
history = model.fit([source, shifted], target, batch_size=32, epochs=5, verbose=2)
