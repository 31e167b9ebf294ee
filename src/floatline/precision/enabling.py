"""`floatline.enable`: mixed precision in one call, before or after the model is built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, overload

import keras

from floatline.patches import wrap
from floatline.precision import loss_scaling
from floatline.precision.application import apply
from floatline.precision.changes import Application, Changes
from floatline.precision.hooks import scales_loss
from floatline.precision.matching import places, refuse_unmatched, unmatched
from floatline.precision.plan import Plan

Listener = Callable[[Any, Changes], None]
"""Told of a model and of what changed in it."""


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

    >>> with enable("mixed_float16"):
    ...     model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    ...     model.compile("sgd", "mse")
    >>> type(model.optimizer).__module__.split(".")[0]
    'floatline'
    >>> keras.config.dtype_policy().name
    'float32'
    """
    plan = precision if isinstance(precision, Plan) else Plan.of(precision)
    if model is not None:
        return apply(plan, model)
    return Enabled(plan, rules=isinstance(precision, Plan))


class Enabled:
    """A precision that holds for every model to come, until it is undone.

    What models already have they keep. Several are undone in the reverse order. The state that
    says so is Keras' own: its global policy, and two methods of `keras.Model` that are wrapped.

    Args:
        plan: The plan.
        rules: Whether its rules are applied to each model, over what the layers ask for
            themselves; otherwise only its base becomes the global policy.
        listener: Told what was changed in each model.
    """

    def __init__(self, plan: Plan, *, rules: bool, listener: Listener = lambda *_: None) -> None:
        self.plan = plan
        self._rules = rules
        self._listener = listener
        self._checked = not rules
        with contextlib.ExitStack() as undoing:
            undoing.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
            if plan.base is not None:
                keras.config.set_dtype_policy(plan.base.policy)
            undoing.callback(wrap(keras.Model, "compile", self._on_compile))
            undoing.callback(wrap(keras.Model, "make_train_function", self._on_training))
            self._undoing = undoing.pop_all()

    def undo(self) -> None:
        """Puts Keras' global policy and methods back; once undone it does nothing."""
        self._undoing.close()

    def __enter__(self) -> Enabled:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def _on_compile(
        self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any
    ) -> None:
        original(model, *args, **kwargs)
        if scales_loss(original, (model, *args), kwargs):
            self._settle(model)

    def _on_training(
        self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Only now a subclassed model is sure to have all of its layers."""
        if not self._checked:
            found = places(model)
            refuse_unmatched(unmatched(self.plan, found), found)
            self._checked = True
        if model.train_function is None:
            self._settle(model)
        return original(model, *args, **kwargs)

    def _settle(self, model: Any) -> None:
        if self._rules:
            changes = apply(self.plan, model, strict=False, lasting=False).changes
        else:
            with contextlib.ExitStack() as undoing:
                said = loss_scaling.settle(
                    model, None, undoing, detach=not loss_scaling.explicitly_scaled(model)
                )
                undoing.pop_all()
            changes = Changes(loss_scaling=said)
        if changes != Changes():
            self._listener(model, changes)
