"""A precision that holds for every model to come: Keras' global policy, and two of its methods."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import keras

from floatline.errors import InputError
from floatline.patches import wrap
from floatline.precision import loss_scaling
from floatline.precision.application import apply
from floatline.precision.changes import Changes
from floatline.precision.epsilons import refuse_missing
from floatline.precision.hooks import scales_loss
from floatline.precision.matching import places, refuse_unmatched, unmatched
from floatline.precision.optimizers import refuse_unfit
from floatline.precision.plan import Plan
from floatline.scaling.guard import guard
from floatline.scaling.optimizer import LossScaleOptimizer

Listener = Callable[[Any, Changes], None]
"""Told of a model and of what changed in it."""


def ignore(_model: Any, _changes: Changes) -> None:
    """A listener that does nothing."""


def enabled(precision: str | Plan, listener: Listener = ignore) -> Enabled:
    """Turns a precision on for all models to come.

    Args:
        precision: A dtype policy, or a plan whose rules are applied to each model.
        listener: Told what was changed in each model.
    """
    if isinstance(precision, Plan):
        return Enabled(precision, rules=True, listener=listener)
    return Enabled(Plan.of(precision), rules=False, listener=listener)


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

    def __init__(self, plan: Plan, *, rules: bool, listener: Listener) -> None:
        self.plan = plan
        self._rules = rules
        self._listener = listener
        self._checked = not rules
        self._models = 0
        self.failure: InputError | None = None
        with contextlib.ExitStack() as undoing:
            undoing.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
            if plan.base is not None:
                keras.config.set_dtype_policy(plan.base.policy)
            undoing.callback(wrap(keras.Model, "compile", self._on_compile))
            undoing.callback(wrap(keras.Model, "make_train_function", self._on_training))
            self._undoing = undoing.pop_all()

    def notes(self) -> tuple[str, ...]:
        """What the user should know, once the training is over."""
        found = []
        base, now = self.plan.base, keras.config.dtype_policy().name
        if base is not None and now != base.policy:
            found.append(
                f"The script set the policy {now!r} itself; the requested {base.policy!r} held "
                "only for what it made before."
            )
        if not self._models:
            found.append(
                "The script compiled no Keras model, so no loss scaling was attached: scale the "
                "loss of a loop of its own with `floatline.LossScaleOptimizer`."
            )
        return tuple(found)

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
        self._models += 1
        if scales_loss(original, (model, *args), kwargs):
            with self._noted():
                self._settle(model)

    def _on_training(
        self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Only now a subclassed model is sure to have all of its layers, if it is built."""
        if model.train_function is not None and not kwargs.get("force"):
            return original(model, *args, **kwargs)
        if model.built:
            self._prepare(model)
            return original(model, *args, **kwargs)
        original(model, *args, **kwargs)
        step = model.train_function

        @functools.wraps(step)
        def first_step(*arguments: Any) -> Any:
            """TensorFlow builds the model while it traces the first step."""
            logs = step(*arguments)
            if model.train_function is first_step:
                changed = self._prepare(model)
                model.train_function = None if changed else step
                model.make_train_function()
            return logs

        model.train_function = first_step
        return step

    def _prepare(self, model: Any) -> bool:
        """Whether the model had to be changed."""
        with self._noted():
            self._check(model)
            changed = self._settle(model)
        if isinstance(model.optimizer, LossScaleOptimizer):
            guard(model)  # `fit` does so too, but has begun by now.
        return changed

    def _check(self, model: Any) -> None:
        """The plan must fit the first model that trains; others may lack some of its layers."""
        if not self._checked:
            found = places(model)
            refuse_unmatched(unmatched(self.plan, found), found)
            refuse_missing(self.plan.epsilons, found)
            refuse_unfit(model, self.plan.optimizer)
            self._checked = True

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Keeps an error that the user's own code may swallow."""
        try:
            yield
        except InputError as error:
            self.failure = error
            raise

    def _settle(self, model: Any) -> bool:
        changes = self._applied(model) if self._rules else self._scaled(model)
        if changes.any:
            self._listener(model, changes)
        return changes.any

    def _applied(self, model: Any) -> Changes:
        return apply(self.plan, model, strict=False, lasting=False).changes

    def _scaled(self, model: Any) -> Changes:
        with contextlib.ExitStack() as undoing:
            detach = not loss_scaling.explicitly_scaled(model)
            said = loss_scaling.settle(model, None, undoing, detach=detach)
            undoing.pop_all()  # What models have they keep.
        return Changes(loss_scaling=said)
