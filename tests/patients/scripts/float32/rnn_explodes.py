"""Plain recurrent network without bounds, trained with a large step and no clipping."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(45)
keras.config.set_dtype_policy("mixed_bfloat16")

rng = np.random.default_rng(45)
series = rng.normal(size=(256, 30, 2)).astype("float32")
total = series.sum(axis=(1, 2))[:, None]
model = keras.Sequential(
    [
        layers.Input((30, 2)),
        layers.SimpleRNN(24, activation="relu"),
        layers.Dense(1),
    ]
)
model.compile(keras.optimizers.SGD(0.5), "mse")
history = model.fit(series, total, batch_size=32, epochs=6, verbose=2)
