"""A variance as E[x^2] - E[x]^2 around 25: float16 makes it negative, and its root is NaN."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(9)
keras.config.set_dtype_policy("mixed_float16")


@keras.saving.register_keras_serializable("blind")
class ChannelNorm(layers.Layer):
    def build(self, shape):
        self.g = self.add_weight(shape=(shape[-1],), initializer="ones", name="g")
        self.b = self.add_weight(shape=(shape[-1],), initializer="zeros", name="b")

    def call(self, x):
        m = ops.mean(x, axis=1, keepdims=True)
        m2 = ops.mean(ops.square(x), axis=1, keepdims=True)
        var = m2 - ops.square(m)  # <- culprit
        return self.g * (x - m) / ops.sqrt(var + 1e-3) + self.b


rng = np.random.default_rng(3)
sig = rng.normal(size=(800, 32, 3)) * 0.4
label = (sig[:, :16].mean(axis=(1, 2)) > sig[:, 16:].mean(axis=(1, 2))).astype("int32")
x = (sig + np.array([20.0, 21.0, 25.0])).astype("float32")

m = keras.Sequential(name="sensor")
m.add(keras.Input((32, 3)))
m.add(ChannelNorm(name="standardise"))
m.add(layers.SeparableConv1D(12, 5, activation="swish", name="conv"))
m.add(layers.Flatten())
m.add(layers.Dense(2, name="logits", dtype="float32"))
m.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["acc"])
m.fit(x, label, batch_size=40, epochs=5, verbose=0)
