"""A loop of pure functions on JAX, at a fixed loss scale that is far too high."""

import jax
import jax.numpy as jnp
import keras  # noqa: F401 (says which framework is looked into)
import numpy as np

random = np.random.default_rng(0)
x = random.uniform(0.5, 1.5, size=(64, 8)).astype("float32")
y = 10.0 * x.mean(axis=1, keepdims=True)
weights = {"w": jnp.zeros((8, 1))}
scale = 65536.0


def scaled_loss(weights, inputs, targets):
    outputs = inputs.astype("float16") @ weights["w"].astype("float16")
    loss = jnp.mean(jnp.square(outputs.astype("float32") - targets))
    return loss * scale


@jax.jit
def train_step(weights, inputs, targets):
    loss, gradients = jax.value_and_grad(scaled_loss)(weights, inputs, targets)
    weights = jax.tree.map(lambda w, g: w - 0.02 * g / scale, weights, gradients)
    return weights, loss / scale


for _ in range(40):
    weights, loss = train_step(weights, x, y)
