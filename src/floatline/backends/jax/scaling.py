"""Loss scaling on JAX: nothing is branched on, so nothing leaves the device and all is fused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from operator import mul
from typing import Any, final

import jax
import jax.numpy as jnp
from jax.experimental import sparse
from keras import StatelessScope, ops

from floatline.backends.scaling_defaults import assigning, scaled
from floatline.backends.scaling_interface import (
    SKIPPED,
    Assign,
    Function,
    Gradient,
    Tensor,
    Transition,
    Updater,
)

LONGEST_TABLE = 4096
"""Values of one gradient that are reduced together with those of all others."""


@final
class JaxKernels:
    """The operations of loss scaling on JAX."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude; inf for a gradient with any non-finite value."""
        rows = [_largest_of_rows(_values(gradient)) for gradient in gradients]
        longest = max(values.size for values in rows)
        table = jnp.stack([jnp.pad(values, (0, longest - values.size)) for values in rows])
        return jnp.max(table, axis=1, initial=0)

    def scaled(self, loss: Tensor, scale: Tensor) -> Tensor:
        """The loss times the scale; NaN in every gradient if the loss is NaN."""
        return scaled(loss, scale)

    def transition(self, function: Function, assign: Assign) -> Transition:
        """Computed and assigned: it is compiled with the step that makes it."""
        return assigning(function, assign)

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        return [ops.divide(gradient, scale) for gradient in gradients]

    def updater(self) -> Updater:
        """Updates, and then keeps the new values only where the step is finite."""
        return update_where

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips."""

        def train_step(state: Any, data: Any) -> Any:
            logs, new_state = step(state, data)
            if not hasattr(model.optimizer, "counters"):
                return logs, new_state
            return _kept_if_applied(model, state, logs, new_state)

        return train_step

    def would_freeze(self, value: Tensor) -> bool:
        """Whether a function is being compiled of which `value` is no argument."""
        compiling = isinstance(jnp.zeros(()), jax.core.Tracer)
        return compiling and not isinstance(value, jax.core.Tracer)


def _kept_if_applied(model: Any, state: Any, logs: dict[str, Tensor], new_state: Any) -> Any:
    trainable, others, optimizer, metrics = new_state
    paths = [variable.path for variable in model.optimizer.variables]
    places = [paths.index(variable.path) for variable in model.optimizer.scale_variables]
    before, after = ([values[place] for place in places] for values in (state[2], optimizer))
    applied = after[-1][SKIPPED] == before[-1][SKIPPED]

    def kept(new: Tensor, old: Tensor) -> Tensor:
        return jnp.where(applied, new, old)

    if "loss" in logs:
        fails = jnp.logical_not(applied | jnp.isfinite(logs["loss"]))
        values = model.optimizer.cleared(before, after, fails)
        for place, value in zip(places, values, strict=True):
            optimizer[place] = value
    with StatelessScope(list(zip(model.metrics_variables, state[3], strict=True))):
        results = model.get_metrics_result()
    if results.keys() == logs.keys():
        logs = jax.tree.map(kept, logs, results)
    others, metrics = jax.tree.map(kept, (others, metrics), (state[1], state[3]))
    return logs, (trainable, others, optimizer, metrics)


def _values(gradient: Gradient) -> Tensor:
    return gradient.data if isinstance(gradient, sparse.JAXSparse) else gradient


def _largest_of_rows(values: Tensor) -> Tensor:
    """The largest magnitudes of parts of a gradient: one kernel, where all of it would take two."""
    magnitudes = jnp.where(jnp.isfinite(values), jnp.abs(values), jnp.inf).astype(jnp.float32)
    leading = itertools.takewhile(LONGEST_TABLE.__ge__, itertools.accumulate(values.shape, mul))
    rest = tuple(range(len(list(leading)), values.ndim))
    return jnp.max(magnitudes, axis=rest, initial=0).reshape(-1)


def update_where(
    finite: Tensor,
    update: Callable[[list[Gradient | None]], None],
    gradients: list[Gradient | None],
    variables: Sequence[Any],
) -> None:
    """Updates, and then keeps the new values only where `finite`.

    A select is fused with the update that it follows; a `cond` would copy what it may write.
    """
    before = [variable.value for variable in variables]
    update(gradients)
    for variable, value in zip(variables, before, strict=True):
        if variable.value is not value:
            variable.assign(jnp.where(finite, variable.value, value))


KERNELS = JaxKernels()
