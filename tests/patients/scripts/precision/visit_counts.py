"""Daily visits of web pages, Poisson regression with an exponential output."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(26)
keras.config.set_dtype_policy("mixed_float16")

rng = np.random.default_rng(26)
pages = rng.normal(size=(512, 8)).astype("float32")
rate = np.exp(11.0 + 0.6 * pages[:, 0] - 0.4 * pages[:, 1])
visits = rng.poisson(rate).astype("float32")

model = keras.Sequential(
    [
        layers.Input((8,)),
        layers.Dense(32, activation="relu"),
        layers.Dense(  # <- culprit
            1,
            activation="exponential",
            bias_initializer=keras.initializers.Constant(np.log(visits.mean())),
            name="rate",
        ),
    ]
)
model.compile(keras.optimizers.Adam(5e-3), "poisson")
history = model.fit(pages, visits, batch_size=64, epochs=8, verbose=2)
