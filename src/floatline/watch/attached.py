"""Attaches a watch to every training of a script that knows nothing of it."""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras

from floatline.patches import wrapped
from floatline.watch.callback import Watch
from floatline.watch.settings import Source, WatchSettings


class Attached:
    """Gives each call of `fit` a watch, and each model that is trained batch by batch.

    A training that brings its own `floatline.Watch` keeps that.

    Args:
        settings: What the watches are asked.
        source: The script.
        tell: Told in words of failures and warnings.
    """

    def __init__(
        self, settings: WatchSettings, source: Source, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._source = source
        self._tell = tell
        self._failed = False
        self._fitting: list[Watch] = []
        self._loops: weakref.WeakKeyDictionary[Any, Watch] = weakref.WeakKeyDictionary()

    @property
    def failed(self) -> bool:
        """Whether any training has failed."""
        watches = [*self._fitting, *self._loops.values()]
        self._failed = self._failed or any(watch.failed for watch in watches)
        return self._failed

    def installed(self) -> contextlib.ExitStack:
        """Wraps Keras' entries to training; the stack that is returned unwraps them."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(wrapped(keras.Model, "fit", self._on_fit))
            stack.enter_context(wrapped(keras.Model, "train_on_batch", self._on_batch))
            return stack.pop_all()

    def _on_fit(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            bound = inspect.signature(original).bind(model, *args, **kwargs)
        except TypeError:  # Keras says what is wrong with the call.
            return original(model, *args, **kwargs)
        _, *named = bound.arguments.items()
        arguments = dict(named)
        given = arguments.get("callbacks")
        if isinstance(given, keras.callbacks.CallbackList):
            if not _has_watch(given.callbacks):
                given.append(self._made())
            return original(model, **arguments)
        listed = [] if given is None else keras.tree.flatten(given)
        # First, so that every other callback sees what it logs.
        watches = [] if _has_watch(listed) else [self._made()]
        self._fitting += [one for one in [*watches, *listed] if isinstance(one, Watch)]
        return original(model, **{**arguments, "callbacks": [*watches, *listed]})

    def _on_batch(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        if model not in self._loops:
            self._loops[model] = self._made()
        return self._loops[model].step_of(model, lambda: original(model, *args, **kwargs))

    def _made(self) -> Watch:
        watch = Watch(**asdict(self._settings))
        watch.source, watch.tell = self._source, self._tell
        return watch


def _has_watch(callbacks: list[Any]) -> bool:
    return any(isinstance(callback, Watch) for callback in callbacks)
