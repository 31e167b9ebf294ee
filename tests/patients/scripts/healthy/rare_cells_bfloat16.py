"""Focal loss on masks that are nearly empty, in bfloat16."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(36)
keras.config.set_dtype_policy("mixed_bfloat16")

rng = np.random.default_rng(36)
masks = np.zeros((128, 16, 16, 1), "float32")
for mask, (row, column) in zip(masks, rng.integers(1, 14, (128, 2)), strict=True):
    mask[row : row + 2, column : column + 2] = 1
images = (4 * masks + rng.normal(size=masks.shape)).astype("float32")

inputs = keras.Input((16, 16, 1))
down = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
x = layers.MaxPooling2D()(down)
x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
x = layers.Concatenate()([layers.UpSampling2D()(x), down])
rare = keras.initializers.Constant(-4.6)
outputs = layers.Conv2D(1, 1, activation="sigmoid", bias_initializer=rare)(x)
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(5e-3), keras.losses.BinaryFocalCrossentropy(gamma=2.0))
history = model.fit(images, masks, batch_size=16, epochs=6, verbose=2)
