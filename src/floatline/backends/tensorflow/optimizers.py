"""Reads what the light watch wants to know of Keras' optimizers and variables."""

from __future__ import annotations

import operator
from typing import Any

import keras
import tensorflow as tf

from floatline.backends.loss_scales import scale_variables
from floatline.backends.tensorflow.observer import Observed


def iterations(observed: Observed | None) -> tuple[int, ...]:
    """Steps taken so far by each of the optimizers that the step applies.

    Where gradients are accumulated, the public `iterations` is a quotient of that count.
    """
    optimizers = observed.optimizers if observed is not None else ()
    return tuple(int(_innermost(optimizer)._iterations) for optimizer in optimizers)  # noqa: SLF001


def held_back(observed: Observed | None, before: tuple[int, ...]) -> bool:
    """Whether optimizers did not count the step: all that it applies, or one by its loss scale.

    Of several, one whose gradients are finite goes on.

    Args:
        observed: What was seen while the step was built.
        before: `iterations` before the step.
    """
    after = iterations(observed)
    if not before or len(before) != len(after):
        return False
    stood = list(map(operator.eq, before, after))
    optimizers = observed.optimizers if observed is not None else ()
    scaled = (isinstance(o, keras.optimizers.LossScaleOptimizer) for o in optimizers)
    return all(stood) or any(map(operator.and_, stood, scaled))


def loss_scale(observed: Observed | None) -> float | None:
    """The loss scale in force; None when no loss-scale optimizer is applied."""
    for optimizer in observed.optimizers if observed is not None else ():
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and optimizer.built:
            return float(raw(optimizer.dynamic_scale))
    return None


def scale_tensors(observed: Observed) -> list[tf.Variable]:
    """The variables that drive the loss scale: the scale itself and what it counts."""
    return [raw(variable) for variable in scale_variables(observed.optimizers)]


def model_variables(model: keras.Model) -> list[tf.Variable]:
    """Every variable of a model, its metrics and its optimizer."""
    variables = list(model.variables) + list(model.metrics_variables)
    if getattr(model, "optimizer", None) is not None:
        variables += list(model.optimizer.variables)
    return [raw(v) for v in variables if raw(v) is not None]


def raw(variable: Any) -> Any:
    """The `tf.Variable` behind a Keras variable, whose own `value` is cast under autocast."""
    return variable._value if isinstance(variable, keras.Variable) else variable  # noqa: SLF001


def _innermost(optimizer: Any) -> Any:
    while getattr(optimizer, "inner_optimizer", None) is not None:
        optimizer = optimizer.inner_optimizer
    return optimizer
