"""Watches JAX trace a training step: which layer and optimizer made each operation.

A jaxpr keeps name scopes and Python stacks, but neither layer objects nor what is handed to the
optimizer, and it holds literals rounded. While a step is `observed`, layers and optimizers open
numbered name scopes, losses and gradients are marked, and the rounding of a literal stays an
operation of its own; everything that is replaced in Keras and JAX is put back on exit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import keras
from jax.ad_checkpoint import checkpoint_name

from floatline.backends.jax.fresh import traced_anew
from floatline.backends.jax.harvest import GRADIENT_MARK, LOSS_MARK, SCALE_MARK
from floatline.backends.jax.jaxprs import LAYER_SCOPE, UPDATE_SCOPE
from floatline.backends.jax.literals import unrounded_literals
from floatline.patches import definers, replaced


@dataclass(slots=True)
class Observed:
    """What was seen of one run of the step function.

    Attributes:
        layers: The layers that ran, by the number of their name scope.
        optimizers: The outermost optimizers that were applied.
    """

    layers: list[keras.Layer] = field(default_factory=list)
    optimizers: list[Any] = field(default_factory=list)


@contextlib.contextmanager
def observing() -> Iterator[Observed]:
    """While active, fills an `Observed` and marks what JAX traces."""
    observed = Observed()
    optimizer = _Optimizers(observed)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        for name in ("__call__", "stateless_call"):
            enter(replaced(keras.Layer, name, lambda call: _scoped(call, observed)))
        for name, around in (
            ("stateless_apply", optimizer.stateless_apply),
            ("apply", optimizer.apply),
            ("scale_loss", optimizer.scale_loss),
        ):
            for owner in definers(keras.optimizers.Optimizer, name):
                enter(replaced(owner, name, around))
        enter(unrounded_literals())
        enter(traced_anew())
        yield observed


def _scoped(original: Callable[..., Any], observed: Observed) -> Callable[..., Any]:
    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        number = next((n for n, known in enumerate(observed.layers) if known is layer), None)
        if number is None:
            number = len(observed.layers)
            observed.layers.append(layer)
        with jax.named_scope(f"{LAYER_SCOPE}{number}"):
            return original(layer, *args, **kwargs)

    return call


class _Optimizers:
    """Marks what the outermost optimizer is handed; one may call another, or its parent class."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._depth = 0
        self._scaling = 0

    def scale_loss(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(optimizer: Any, loss: Any, *args: Any, **kwargs: Any) -> Any:
            marked = loss if self._scaling else checkpoint_name(loss, LOSS_MARK)
            self._scaling += 1
            try:
                return original(optimizer, marked, *args, **kwargs)
            finally:
                self._scaling -= 1

        return call

    def stateless_apply(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(optimizer: Any, optimizer_variables: Any, grads: Any, variables: Any) -> Any:
            given = optimizer_variables
            if not self._depth:
                given = _scale_marked(optimizer, given)
            with self._applying(optimizer, grads, optimizer._trainable_variables) as marked:  # noqa: SLF001 (Keras keeps no public list)
                return original(optimizer, given, marked, variables)

        return call

    def apply(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            variables = trainable_variables
            if variables is None:
                variables = optimizer._trainable_variables  # noqa: SLF001 (Keras' own default)
            with self._applying(optimizer, grads, variables) as marked:
                return original(optimizer, marked, trainable_variables)

        return call

    @contextlib.contextmanager
    def _applying(self, optimizer: Any, grads: Any, variables: Any) -> Iterator[Any]:
        marked = grads if self._depth else self._marked(optimizer, list(grads), variables)
        self._depth += 1
        try:
            with jax.named_scope(UPDATE_SCOPE):
                yield marked
        finally:
            self._depth -= 1

    def _marked(self, optimizer: Any, grads: Sequence[Any], variables: Any) -> list[Any]:
        if not any(optimizer is known for known in self._observed.optimizers):
            self._observed.optimizers.append(optimizer)
        paths = [getattr(variable, "path", "") for variable in variables]
        return [
            None if gradient is None else checkpoint_name(gradient, GRADIENT_MARK + path)
            for gradient, path in zip(grads, paths, strict=False)
        ]


def _scale_marked(optimizer: Any, values: Any) -> Any:
    """What a loop hands to an optimizer for its variables, the loss scale among it marked.

    A loop that carries those values as arrays has names of its own for them.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or not optimizer.built:
        return values
    return [
        checkpoint_name(value, SCALE_MARK) if variable is optimizer.dynamic_scale else value
        for variable, value in zip(optimizer.variables, values, strict=True)
    ]
