"""`floatline.enable`: mixed precision in one call, before or after the model is built."""

from __future__ import annotations

from typing import Any, overload

from floatline.precision.application import apply
from floatline.precision.changes import Application
from floatline.precision.enabled import Enabled, enabled
from floatline.precision.plan import Plan


@overload
def enable(precision: str | Plan, model: None = None) -> Enabled: ...


@overload
def enable(precision: str | Plan, model: Any) -> Application: ...


def enable(precision: str | Plan, model: Any = None) -> Enabled | Application:
    """Turns mixed precision on: for all models to come, or for one that exists.

    Without a model the dtype policy becomes Keras' global one, which layers made from now on take,
    and every model that is compiled from now on gets Floatline's loss scaling if any of its layers
    computes in float16. The rules of a plan are applied to each model when it is compiled, and
    must all match the first model that is trained.

    With a model that very model is changed in place, built or not, compiled or not.

    Args:
        precision: `"mixed_float16"`, `"mixed_bfloat16"`, `"float32"` or another dtype policy, or
            a `Plan`.
        model: A Keras model, or None.

    Returns:
        A handle with `undo()`, also a context manager: `Enabled` without a model, else
        `Application`.

    Raises:
        InputError: There is no such policy, or the plan does not fit the model.

    Example:

    >>> import keras
    >>> with enable("mixed_float16"):
    ...     model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    ...     model.compile("sgd", "mse")
    >>> type(model.optimizer).__module__.split(".")[0]
    'floatline'
    >>> keras.config.dtype_policy().name
    'float32'
    """
    if model is None:
        return enabled(precision)
    return apply(precision if isinstance(precision, Plan) else Plan.of(precision), model)
