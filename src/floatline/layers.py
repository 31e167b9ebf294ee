"""Which layers a model has, and under which path each is known."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import Any

import keras
from keras.src.models.functional import Functional  # Keras names this class nowhere in public.


def walk(model: Any) -> Iterator[tuple[str, Any]]:
    """Every layer below a model (or layer) with its path, in model order; each layer once.

    Paths are the names of the layers from below the model on, joined by `/`. A shared layer stands
    where it was met first.

    Args:
        model: A Keras model or layer; it is not part of what is given.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    >>> [path for path, layer in walk(model)]
    ['head']
    """
    yield from _below(model, "", {id(model)})


def computes_on_floats(layer: Any) -> bool:
    """Whether a dtype policy says anything about what the layer computes."""
    return not isinstance(layer, keras.layers.InputLayer) and "float" in str(layer.compute_dtype)


EPSILONS = ("epsilon", "eps")
"""Attributes in which layers keep what they add to a divisor; Keras' own use the first."""


def epsilon_name(layer: Any) -> str | None:
    """The attribute of the layer itself that holds its epsilon, a positive number, or None."""
    values = vars(layer)
    return next((name for name in EPSILONS if _is_positive(values.get(name))), None)


def epsilon_of(layer: Any) -> float | None:
    """What a layer adds to a divisor; None where it keeps no such number.

    Example:

    >>> epsilon_of(keras.layers.LayerNormalization(epsilon=1e-6))
    1e-06
    """
    name = epsilon_name(layer)
    return None if name is None else float(vars(layer)[name])


def _is_positive(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) > 0


def is_container(layer: Any) -> bool:
    """Whether it computes nothing by itself and leaves everything to its layers, casts as well."""
    return isinstance(layer, Functional | keras.Sequential)


def children(layer: Any) -> list[Any]:
    """The layers directly below a model or layer."""
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    # Only models list their layers publicly; attention, wrappers and recurrent layers hold some.
    return list(layer._flatten_layers(include_self=False, recursive=False))  # noqa: SLF001


def _below(layer: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for child in children(layer):
        if id(child) not in seen:
            seen.add(id(child))
            path = f"{prefix}{child.name}"
            yield path, child
            yield from _below(child, f"{path}/", seen)
