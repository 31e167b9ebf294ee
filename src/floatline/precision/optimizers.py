"""Gives a model's optimizer the numbers that a plan asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras

from floatline.errors import InputError
from floatline.precision.rule import CLIPPING, OPTIMIZER_SETTINGS, Setting


def innermost(optimizer: Any) -> Any:
    """The optimizer inside of wrappers such as a loss-scale optimizer."""
    while getattr(optimizer, "inner_optimizer", None) is not None:
        optimizer = optimizer.inner_optimizer
    return optimizer


def configure(
    model: Any, settings: Sequence[Setting], undoing: contextlib.ExitStack, *, strict: bool = True
) -> None:
    """Sets the numbers, if the model is compiled.

    Args:
        model: A Keras model.
        settings: The numbers.
        undoing: Where the way back is noted.
        strict: Whether a number that the optimizer cannot be given is an error; else it is left.

    Raises:
        InputError: As `refuse_unfit`.
    """
    optimizer = innermost(getattr(model, "optimizer", None))
    if optimizer is None:
        return
    for setting in settings:
        misfit = _misfit(optimizer, setting.name)
        if misfit is None:
            undoing.callback(setattr, optimizer, setting.name, _value(optimizer, setting.name))
            setattr(optimizer, setting.name, setting.value)
        elif strict:
            raise misfit


def refuse_unfit(model: Any, settings: Sequence[Setting]) -> None:
    """Complains about the first number that the model's optimizer cannot be given.

    Raises:
        InputError: The optimizer has no such setting, or clips in another way already, or its
            learning rate follows a schedule.
    """
    optimizer = innermost(getattr(model, "optimizer", None))
    for setting in settings if optimizer is not None else ():
        misfit = _misfit(optimizer, setting.name)
        if misfit is not None:
            raise misfit


def set_learning_rate(model: Any, settings: Sequence[Setting]) -> None:
    """Sets the learning rate once more: it is a variable, which a restored state brings back."""
    optimizer = innermost(getattr(model, "optimizer", None))
    for setting in settings:
        if setting.name == "learning_rate":
            optimizer.learning_rate = setting.value


def learning_rate_of(optimizer: Any) -> float | None:
    """The learning rate, or None when it follows a schedule or there is no optimizer.

    Args:
        optimizer: A Keras optimizer, wrapped or not, or None.
    """
    rate = getattr(innermost(optimizer), "_learning_rate", None)
    return float(rate) if isinstance(rate, keras.Variable) else None


def _value(optimizer: Any, name: str) -> Any:
    """What the setting is now; the learning rate as a number, not as the variable behind it."""
    return learning_rate_of(optimizer) if name == "learning_rate" else getattr(optimizer, name)


def find_variables_anew(model: Any) -> None:
    """Tells the optimizer which of the model's variables is which, after some have been cast.

    On TensorFlow it knows them by the resource that holds their value, which is another one then.
    """
    optimizer = getattr(model, "optimizer", None)
    while optimizer is not None:
        if optimizer.built:
            _index(optimizer)
        optimizer = getattr(optimizer, "inner_optimizer", None)


def _index(optimizer: Any) -> None:
    # Keras fills this table when the optimizer is built, and offers no other way to.
    variables = optimizer._trainable_variables  # noqa: SLF001
    keys = [optimizer._var_key(variable) for variable in variables]  # noqa: SLF001
    optimizer._trainable_variables_indices = {key: n for n, key in enumerate(keys)}  # noqa: SLF001


def _misfit(optimizer: Any, name: str) -> InputError | None:
    """Why the optimizer cannot be given a setting, or None."""
    kind = type(optimizer).__name__
    if not hasattr(optimizer, name):
        has = ", ".join(known for known in OPTIMIZER_SETTINGS if hasattr(optimizer, known))
        return InputError(
            f"The plan sets {name}, but the optimizer {kind} has none.",
            f"Remove that setting from the plan. {kind} has: {has}.",
        )
    if name == "learning_rate" and learning_rate_of(optimizer) is None:
        return InputError(
            f"The plan sets learning_rate, but that of the optimizer {kind} follows a schedule.",
            "Remove that setting from the plan, and change the schedule in the script.",
        )
    other = [way for way in CLIPPING if way != name and getattr(optimizer, way, None) is not None]
    if name in CLIPPING and other:
        return InputError(
            f"The plan sets {name}, but the optimizer {kind} clips by {other[0]} already.",
            f"Remove that setting from the plan, or make the optimizer without {other[0]}.",
        )
    return None
