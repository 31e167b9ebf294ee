"""A loop of pure functions on JAX whose gradients vanish in float16."""

import jax
import jax.numpy as jnp
import keras  # noqa: F401 (says which framework is looked into)
import numpy as np

random = np.random.default_rng(0)
x = random.normal(size=(64, 8)).astype("float32")
y = x.sum(axis=1, keepdims=True)
weights = {"w": jnp.zeros((8, 1))}


def loss_of(weights, inputs, targets):
    """Square metres as square kilometres, of a product in half precision."""
    outputs = inputs.astype("float16") @ weights["w"].astype("float16")
    return jnp.mean(jnp.square(outputs.astype("float32") - targets)) * 1e-9


@jax.jit
def train_step(weights, inputs, targets):
    loss, gradients = jax.value_and_grad(loss_of)(weights, inputs, targets)
    weights = jax.tree.map(lambda w, g: w - 1e8 * g, weights, gradients)
    return weights, loss


for _ in range(40):
    weights, loss = train_step(weights, x, y)
