"""Image classifier with accumulated and clipped gradients inside a LossScaleOptimizer."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(33)
keras.mixed_precision.set_global_policy("mixed_float16")

rng = np.random.default_rng(33)
labels = rng.integers(0, 3, 384)
images = (rng.normal(size=(3, 10, 10, 1))[labels] + rng.normal(size=(384, 10, 10, 1))).astype(
    "float32"
)
inputs = keras.Input((10, 10, 1))
x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
x = layers.BatchNormalization()(x)
x = layers.ReLU()(x)
branch = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
branch = layers.BatchNormalization(gamma_initializer="zeros")(branch)
x = layers.ReLU()(layers.Add()([x, branch]))
x = layers.GlobalAveragePooling2D()(x)
model = keras.Model(inputs, layers.Dense(3, dtype="float32")(x))
inner = keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5, gradient_accumulation_steps=2)
optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**17)
model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(images, labels, batch_size=16, epochs=5, verbose=2)
