"""The Kullback-Leibler term of a variational model: exp of an unbounded log-variance."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(0)
x = random.normal(size=(512, 16)).astype("float32")
y = (x @ random.normal(size=(16, 1)) / 4).astype("float32")


class KullbackLeibler(layers.Layer):
    """Divergence from the standard normal distribution, per sample."""

    def call(self, mean, log_variance):
        terms = ops.exp(log_variance) + ops.square(mean) - 1 - log_variance  # <- culprit
        return 1e-4 * ops.mean(terms, axis=-1, keepdims=True)


inputs = keras.Input((16,))
hidden = layers.Dense(32, activation="relu")(inputs)
mean = layers.Dense(4)(hidden)
log_variance = layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(stddev=3.0))(
    hidden
)
outputs = {
    "value": layers.Dense(1, name="value")(mean),
    "kl": KullbackLeibler(name="kl")(mean, log_variance),
}
model = keras.Model(inputs, outputs)
model.compile(
    keras.optimizers.Adam(1e-2), {"value": "mse", "kl": lambda y_true, y_pred: ops.mean(y_pred)}
)
model.fit(x, {"value": y, "kl": np.zeros((512, 1))}, batch_size=32, epochs=15, verbose=0)
