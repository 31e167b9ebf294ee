"""Residual blocks whose branches start a millionth as strong, as in ConvNeXt."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(31)
keras.config.set_dtype_policy("mixed_float16")


class LayerScale(layers.Layer):
    """Learned strength of a branch."""

    def build(self, shape):
        start = keras.initializers.Constant(1e-6)
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=start)

    def call(self, x):
        return x * self.gamma


rng = np.random.default_rng(31)
labels = rng.integers(0, 4, 384)
images = (rng.normal(size=(4, 12, 12, 3))[labels] + rng.normal(size=(384, 12, 12, 3))).astype(
    "float32"
)
inputs = keras.Input((12, 12, 3))
x = layers.Conv2D(16, 2, strides=2)(inputs)
for _ in range(2):
    branch = layers.DepthwiseConv2D(3, padding="same")(x)
    branch = layers.LayerNormalization(epsilon=1e-6)(branch)
    branch = layers.Dense(32, activation="gelu")(branch)
    x = x + LayerScale()(layers.Dense(16)(branch))
x = layers.GlobalAveragePooling2D()(x)
x = layers.LayerNormalization(epsilon=1e-6)(x)
model = keras.Model(inputs, layers.Dense(4)(x))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.AdamW(3e-3), loss)
history = model.fit(images, labels, batch_size=32, epochs=5, verbose=2)
