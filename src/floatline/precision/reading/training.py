"""How a model is to be trained: its optimizer, and its outputs beside their losses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from floatline.findings.configured.setup import OptimizerSetup, OutputSetup
from floatline.layers import computes_on_floats
from floatline.precision.forward import Forward
from floatline.precision.optimizers import innermost, learning_rate_of
from floatline.records import SourceLine

_LOGARITHMIC = re.compile(r"cross_?entropy|kl_?divergence|kullback|poisson|focal|nll", re.I)
"""Names of losses that take the logarithm of what they are given."""

_EPSILONS = ("epsilon", "epsilon_1")

_POWERS_OF_BETA_2 = ("Adam", "AdamW", "Nadam", "Lamb")
"""Optimizers that scale an update by the root of 1 - beta_2**step: where that is 0, weights do not
move, or become NaN (seen in Keras 3.15.1)."""

_NORMALISING = ("Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Lion")
"""Optimizers whose first updates are about the learning rate, whatever the gradient."""


def optimizer_setup(optimizer: Any, *, by_hand: bool) -> OptimizerSetup | None:
    """Reads an optimizer of Keras'.

    Args:
        optimizer: The outermost one, or None.
        by_hand: Whether a loop of the user's applies it.
    """
    inner = innermost(optimizer)
    if inner is None:
        return None
    name = type(inner).__name__
    beta_2 = getattr(inner, "beta_2", None)
    return OptimizerSetup(
        name=name,
        loss_scaling=isinstance(optimizer, keras.optimizers.LossScaleOptimizer),
        by_hand=by_hand,
        learning_rate=learning_rate_of(inner),
        epsilons=tuple(_numbers(inner)),
        beta_2=float(beta_2) if name in _POWERS_OF_BETA_2 and beta_2 is not None else None,
        normalises=name in _NORMALISING,
    )


def _numbers(optimizer: Any) -> Iterator[tuple[str, float]]:
    for name in _EPSILONS:
        value = getattr(optimizer, name, None)
        if isinstance(value, float | int) and value:
            yield name, float(value)


def output_setups(
    model: Any,
    seen: Forward,
    paths: Mapping[int, str],
    line: Callable[[Any], SourceLine | None],
) -> Iterator[OutputSetup]:
    """Reads what a model returns, beside the compiled loss that takes it.

    Args:
        model: The model.
        seen: A forward pass of it.
        paths: Paths of its layers, by their identity.
        line: Tells the user's line that made a layer.
    """
    calls = seen.calls.get(id(model))
    outputs = [] if calls is None else calls.outputs
    names = getattr(model, "output_names", None) or []
    for index, tensor in enumerate(outputs):
        layer = seen.made_by.get(id(tensor))
        if layer is None or id(layer) not in paths or not computes_on_floats(layer):
            continue
        loss = _loss_of(model, index, names[index] if index < len(names) else None)
        name = _name(loss)
        yield OutputSetup(
            layer=paths[id(layer)],
            dtype=layer.compute_dtype,
            activation=_activation(layer),
            loss=name,
            loss_dtype=_dtype(loss),
            takes_logarithm=bool(name and _LOGARITHMIC.search(name)) and not _from_logits(loss),
            source=line(layer),
        )


def _activation(layer: Any) -> str | None:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None)


def _loss_of(model: Any, index: int, name: str | None) -> Any:
    """The loss that was given to `compile` for one output."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        return loss.get(name)
    if isinstance(loss, list | tuple):
        return loss[index] if index < len(loss) else None
    return loss


def _name(loss: Any) -> str | None:
    if loss is None or isinstance(loss, str):
        return loss
    return getattr(loss, "__name__", None) or type(loss).__name__


def _dtype(loss: Any) -> str | None:
    """What a loss computes in: its own dtype, or Keras' default one."""
    if loss is None:
        return None
    return str(getattr(loss, "dtype", None) or keras.config.floatx())


def _from_logits(loss: Any) -> bool:
    if isinstance(loss, keras.losses.Loss):
        config = getattr(loss, "_fn_kwargs", None) or vars(loss)
        return bool(config.get("from_logits", False))
    if callable(loss) and inspect.isfunction(inspect.unwrap(loss)):
        # A function of the user's own may do anything; Keras' take probabilities by default.
        return not loss.__module__.startswith("keras.")
    return False
