"""The tensors behind Keras' variables, read and written as often as each step does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope

Tensor = Any


def values_of(variables: Sequence[Any]) -> list[Tensor]:
    """The tensors that Keras variables, or tensors, have now; Keras' `value` is slow."""
    if in_stateless_scope():
        return [v if isinstance(v, torch.Tensor) else v.value for v in variables]
    return [getattr(variable, "_value", variable) for variable in variables]


def write(variables: Sequence[Any], old: Sequence[Tensor], new: Sequence[Tensor]) -> None:
    """Assigns what is new."""
    for variable, before, after in zip(variables, old, new, strict=True):
        if after is not before:
            put = variable.copy_ if isinstance(variable, torch.Tensor) else variable.assign
            put(after)
