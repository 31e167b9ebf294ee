"""Mixture density network whose likelihood is taken in float32 with log-sum-exp."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(35)
keras.mixed_precision.set_global_policy("mixed_float16")


def likelihood_loss(y, parameters):
    """Negative log-likelihood of three Gaussians."""
    logits, means, scales = ops.split(parameters, 3, axis=-1)
    scales = ops.softplus(scales) + 1e-2
    log_density = -0.5 * ops.square((y - means) / scales) - ops.log(scales)
    log_weights = ops.log_softmax(logits)
    return -ops.mean(ops.logsumexp(log_weights + log_density, axis=-1))


rng = np.random.default_rng(35)
y = rng.uniform(-8, 8, (512, 1)).astype("float32")
x = (y + 2.5 * np.sin(y) + rng.normal(size=y.shape) * 0.3).astype("float32")
model = keras.Sequential([layers.Input((1,)), layers.Dense(32, activation="tanh"), layers.Dense(9)])
model.compile(keras.optimizers.Adam(1e-2), likelihood_loss)
history = model.fit(x, y, batch_size=64, epochs=8, verbose=2)
