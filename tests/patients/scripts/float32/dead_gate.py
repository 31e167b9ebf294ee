"""A gate that is shut from the start: no weight has a gradient, and only batches move the loss."""

import keras
import numpy as np

keras.utils.set_random_seed(1)
keras.config.set_dtype_policy("mixed_float16")

rng = np.random.default_rng(10)
x = rng.normal(size=(600, 20)).astype("float32")
y = np.tanh(x @ rng.normal(size=(20, 1))).astype("float32")

a = keras.Input((20,), name="features")
h = keras.layers.Dense(48, name="wide")(a)
shut = keras.initializers.Constant(-25.0)
h = keras.layers.Dense(48, activation="relu", bias_initializer=shut, name="gate")(h)  # <- culprit
h = keras.layers.Dense(48, activation="relu", name="mix")(h)
b1 = keras.layers.Dense(1, dtype="float32", name="value", use_bias=False)(h)
b2 = keras.layers.Dense(1, dtype="float32", name="advantage", use_bias=False)(h)
model = keras.Model(a, {"value": b1, "advantage": b2})
model.compile(
    "rmsprop",
    loss={"value": "mse", "advantage": "huber"},
    loss_weights={"value": 1.0, "advantage": 0.5},
)
model.fit(x, {"value": y, "advantage": -y}, batch_size=30, epochs=4, verbose=0)
