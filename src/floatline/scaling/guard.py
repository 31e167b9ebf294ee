"""Ties a loss-scale optimizer to the model that it trains: a skipped step leaves no trace there."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras

from floatline.scaling.kernels import load_kernels
from floatline.scaling.monitor import ScaleMonitor


def guard(model: keras.Model) -> None:
    """Makes the training of `model` undo what a skipped step wrote outside of its optimizer.

    Without it a step that the optimizer skips has still run its forward pass: BatchNormalization
    keeps non-finite statistics, and the epoch's mean loss is NaN. With it, variables that are not
    trained and metrics are put back on the device, and `fit` is accompanied by a `ScaleMonitor`.
    `compile` calls this for a `floatline.LossScaleOptimizer`; a model that is already guarded stays
    as it is.

    Args:
        model: A compiled model.
    """
    if hasattr(model.train_step, "guards"):
        return
    step = model.train_step
    guarded = functools.wraps(step)(load_kernels().guarded_step(model, step))
    guarded.guards = step  # type: ignore[attr-defined]  # (a function carries what it is given)
    model.train_step = guarded
    model.fit = _monitored(model)


def guard_on_compile() -> None:
    """From now on a model that is compiled with a loss-scale optimizer of Floatline's is guarded.

    Keras tells an optimizer nothing of its model; `compile` is where the two meet.
    """
    trainer = next(base for base in keras.Model.__mro__ if "compile" in vars(base))
    compile_model = trainer.compile
    if hasattr(compile_model, "guards"):
        return

    @functools.wraps(compile_model)
    def compile(model: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001 (the name that Keras shows)
        result = compile_model(model, *args, **kwargs)
        if scales_loss(model):
            guard(model)
        return result

    compile.guards = True  # type: ignore[attr-defined]  # (as above)
    trainer.compile = compile


def scales_loss(model: Any) -> bool:
    """Whether an optimizer with Floatline's counters drives the model."""
    return hasattr(getattr(model, "optimizer", None), "report")


def _monitored(model: keras.Model) -> Any:
    signature = inspect.signature(model.fit)

    @functools.wraps(model.fit)
    def fit(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        if scales_loss(model):
            arguments["callbacks"] = _with_monitor(arguments.get("callbacks"))
        return type(model).fit(model, **arguments)

    return fit


def _with_monitor(callbacks: Any) -> Any:
    """The monitor comes first, so that every other callback sees what it adds to the logs."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        listed = callbacks.callbacks
        if not any(isinstance(callback, ScaleMonitor) for callback in listed):
            callbacks.append(ScaleMonitor())
        return callbacks
    listed = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks or []
    if any(isinstance(callback, ScaleMonitor) for callback in listed):
        return listed
    return [ScaleMonitor(), *listed]
