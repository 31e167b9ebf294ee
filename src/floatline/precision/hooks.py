"""Calls of Keras that a plan must answer: `compile`, and the building of the training step."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any


def after_compile(model: Any, act: Callable[[], object], undoing: contextlib.ExitStack) -> None:
    """Calls `act` after every later `compile` of this model, until it is undone."""
    before = vars(model).get("compile")
    original = model.compile
    active = True

    @functools.wraps(original)
    def compile_and_act(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        if active and scales_loss(original, args, kwargs):
            act()

    def stop() -> None:
        nonlocal active
        active = False
        _put_back(model, compile_and_act, before)

    # On the object and past `__setattr__`, which would have frameworks track it.
    object.__setattr__(model, "compile", compile_and_act)
    undoing.callback(stop)


def scales_loss(compile_: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> bool:
    """Whether a call of `compile` leaves loss scaling to others: `auto_scale_loss` is not False."""
    try:
        given = inspect.signature(compile_).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return True
    return bool(given.get("auto_scale_loss", True))


def _put_back(model: Any, ours: Any, before: Any) -> None:
    if vars(model).get("compile") is not ours:  # A later plan's hook calls ours, which is idle.
        return
    if before is None:
        object.__delattr__(model, "compile")
    else:
        object.__setattr__(model, "compile", before)
