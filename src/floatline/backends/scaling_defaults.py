"""Parts of loss scaling that cost nothing where a framework compiles the step that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from floatline.backends.scaling_interface import Assign, Function, Tensor, Transition


def scaled(loss: Tensor, scale: Tensor) -> Tensor:
    """The loss times the scale; NaN in every gradient if the loss is NaN."""
    known = ops.stop_gradient(loss)
    return ops.multiply(loss, ops.where(ops.isnan(known), known, scale))


def assigning(function: Function, assign: Assign) -> Transition:
    """A transition that computes `function`, and assigns its results."""

    def transition(variables: Sequence[Any], *arguments: Tensor) -> Tensor:
        said, *values = function(*arguments, *(variable.value for variable in variables))
        for variable, value in zip(variables, values, strict=True):
            assign(variable, value)
        return said

    return transition
