"""A variational autoencoder whose divergence is computed in float32, compiled with XLA."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = (random.uniform(size=(512, 1)) > random.uniform(size=(1, 24))).astype("float32")


class Sample(layers.Layer):
    """Draws from a normal distribution and adds its divergence to the loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, mean, log_variance):
        wide_mean, wide = ops.cast(mean, "float32"), ops.cast(log_variance, "float32")
        terms = ops.exp(wide) + ops.square(wide_mean) - 1 - wide
        self.add_loss(0.5e-2 * ops.mean(ops.sum(terms, axis=-1)))
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed)
        return mean + ops.exp(0.5 * log_variance) * noise


inputs = keras.Input((24,))
hidden = layers.Dense(32, activation="relu")(inputs)
code = Sample()(layers.Dense(2)(hidden), layers.Dense(2)(hidden))
outputs = layers.Dense(24, activation="sigmoid", dtype="float32")(
    layers.Dense(32, activation="relu")(code)
)
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", jit_compile=True)
model.fit(x, x, batch_size=32, epochs=10, verbose=0)
