"""Ties a loss-scale optimizer to the model that it trains: a skipped step leaves no trace there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from floatline.scaling.kernels import load_kernels
from floatline.scaling.monitor import ScaleMonitor


def guard(model: keras.Model) -> Callable[[], None]:
    """Makes the training of `model` undo what a skipped step wrote outside of its optimizer.

    Without it a step that the optimizer skips has still run its forward pass: BatchNormalization
    keeps non-finite statistics, and the epoch's mean loss is NaN. With it, variables that are not
    trained and metrics are put back on the device; on PyTorch, which would have to copy them,
    frozen weights only after a step has been seen to write to them. `fit` and `train_on_batch` call
    this for a model with a `floatline.LossScaleOptimizer`; a model that is already guarded stays as
    it is.

    Args:
        model: A compiled model.

    Returns:
        What takes the guard away again.
    """
    if hasattr(model.train_step, "guards"):
        return lambda: None
    step, before = model.train_step, vars(model).get("train_step")
    guarded = functools.wraps(step)(load_kernels().guarded_step(model, step))
    guarded.guards = step  # type: ignore[attr-defined]  # (a function carries what it is given)
    model.train_step = guarded
    model.train_function = None  # One that was made before would run the step as it was.

    def unguard() -> None:
        if model.train_step is not guarded:
            return
        if before is None:
            del model.train_step
        else:
            model.train_step = before
        model.train_function = None

    return unguard


def guard_training() -> None:
    """From now on a model that trains with a loss-scale optimizer of Floatline's is guarded.

    Keras tells an optimizer nothing of the model that it trains. The two are first seen together
    where training begins, so that is where Keras is asked.
    """
    _wrap("fit", _monitored)
    _wrap("train_on_batch", dict)


def scales_loss(model: Any) -> bool:
    """Whether an optimizer with Floatline's counters drives the model."""
    return hasattr(getattr(model, "optimizer", None), "report")


def _wrap(name: str, prepare: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Wraps Keras' own method once; models that override it reach it through `super()`."""
    trainer = next(base for base in keras.Model.__mro__ if name in vars(base))
    method = getattr(trainer, name)
    if hasattr(method, "guards"):
        return
    signature = inspect.signature(method)

    @functools.wraps(method)
    def guarded(model: Any, *args: Any, **kwargs: Any) -> Any:
        if not scales_loss(model):
            return method(model, *args, **kwargs)
        guard(model)
        _, *named = signature.bind(model, *args, **kwargs).arguments.items()
        return method(model, **prepare(dict(named)))

    guarded.guards = method  # type: ignore[attr-defined]  # (as above)
    setattr(trainer, name, guarded)


def _monitored(arguments: dict[str, Any]) -> dict[str, Any]:
    """Adds the monitor; it comes first, so that every other callback sees what it logs."""
    callbacks = arguments.get("callbacks")
    if isinstance(callbacks, keras.callbacks.CallbackList):
        if not _has_monitor(callbacks.callbacks):
            callbacks.append(ScaleMonitor())
        return arguments
    listed = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks or []
    if _has_monitor(listed):
        return arguments
    return {**arguments, "callbacks": [ScaleMonitor(), *listed]}


def _has_monitor(callbacks: list[Any]) -> bool:
    return any(isinstance(callback, ScaleMonitor) for callback in callbacks)
