"""A GRU encoder and decoder with additive attention, several steps per execution."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
source = random.integers(1, 12, (512, 8))
target = np.flip(source, axis=1)
previous = np.concatenate([np.zeros((512, 1), int), target[:, :-1]], axis=1)

inputs, before = keras.Input((8,), dtype="int32"), keras.Input((8,), dtype="int32")
encoded, state = layers.GRU(32, return_sequences=True, return_state=True)(
    layers.Embedding(12, 16, mask_zero=True)(inputs)
)
decoded = layers.GRU(32, return_sequences=True)(
    layers.Embedding(12, 16)(before), initial_state=state
)
context = layers.AdditiveAttention()([decoded, encoded])
outputs = layers.Dense(12, activation="softmax")(layers.Concatenate()([decoded, context]))
model = keras.Model([inputs, before], outputs)
model.compile(
    keras.optimizers.RMSprop(3e-3), "sparse_categorical_crossentropy", steps_per_execution=4
)
model.fit([source, previous], target, batch_size=32, epochs=6, verbose=0)
