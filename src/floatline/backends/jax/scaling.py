"""Loss scaling on JAX: nothing is branched on, so nothing leaves the device and all is fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
from jax.experimental import sparse
from keras import StatelessScope, ops

from floatline.backends.scaling_interface import Gradient, Tensor


@final
class JaxKernels:
    """The operations of loss scaling on JAX."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude; inf for a gradient with any non-finite value."""
        return jnp.stack([_largest(_values(gradient)) for gradient in gradients])

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        return [ops.divide(gradient, scale) for gradient in gradients]

    def update_where(
        self,
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

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips."""

        def train_step(state: Any, data: Any) -> Any:
            logs, new_state = step(state, data)
            names = [variable.name for variable in model.optimizer.variables]
            if "skipped" not in names:
                return logs, new_state
            return _kept_if_applied(model, names, state, logs, new_state)

        return train_step

    def would_freeze(self, value: Tensor) -> bool:
        """Whether a function is being compiled of which `value` is no argument."""
        compiling = isinstance(jnp.zeros(()), jax.core.Tracer)
        return compiling and not isinstance(value, jax.core.Tracer)


def _kept_if_applied(
    model: Any, names: Sequence[str], state: Any, logs: dict[str, Tensor], new_state: Any
) -> Any:
    trainable, others, optimizer, metrics = new_state
    place = names.index("skipped")
    applied = optimizer[place] == state[2][place]

    def kept(new: Tensor, old: Tensor) -> Tensor:
        return jnp.where(applied, new, old)

    with StatelessScope(list(zip(model.metrics_variables, state[3], strict=True))):
        before = model.get_metrics_result()
    if "loss" in logs:
        fails = jnp.logical_not(applied | jnp.isfinite(logs["loss"]))
        broken = names.index("broken_losses")
        optimizer[broken] = optimizer[broken] + fails.astype(jnp.int32)
        for place in [names.index(variable.name) for variable in model.optimizer.scale_variables]:
            optimizer[place] = jnp.where(fails, state[2][place], optimizer[place])
    if before.keys() == logs.keys():
        logs = jax.tree.map(kept, logs, before)
    others, metrics = jax.tree.map(kept, (others, metrics), (state[1], state[3]))
    return logs, (trainable, others, optimizer, metrics)


def _values(gradient: Gradient) -> Tensor:
    return gradient.data if isinstance(gradient, sparse.JAXSparse) else gradient


def _largest(values: Tensor) -> Tensor:
    magnitudes = jnp.where(jnp.isfinite(values), jnp.abs(values), jnp.inf)
    return jnp.max(magnitudes, initial=0).astype(jnp.float32)


KERNELS = JaxKernels()
