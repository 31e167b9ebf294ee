"""Finds the compiled training step of a loop that was written by hand and carries no mark."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import polymorphic_function
from tensorflow.python.util import tf_decorator

from floatline.backends.interface import CallHandler, StepKind
from floatline.backends.tensorflow.lanes import attributes, names_low_type
from floatline.backends.tensorflow.observer import Observer
from floatline.patches import replaced
from floatline.sources import is_users


@contextlib.contextmanager
def find_steps(handler: CallHandler) -> Iterator[None]:
    """While active, calls of the user's compiled functions go to `handler`.

    Only the outermost call counts: what a step calls is part of the step.
    """
    running = False
    kinds: weakref.WeakKeyDictionary[Any, StepKind] = weakref.WeakKeyDictionary()

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(function: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal running
            if running or not tf.executing_eagerly() or not _is_users(function):
                return original(function, *args, **kwargs)

            def kind() -> StepKind:
                if function not in kinds:
                    kinds[function] = _kind(function, args, kwargs)
                return kinds[function]

            running = True
            try:
                return handler(function, kind, args, kwargs)
            finally:
                running = False

        return call

    with replaced(polymorphic_function.Function, "__call__", around):
        yield


def _kind(function: Any, args: Any, kwargs: Any) -> StepKind:
    """Whether the function differentiates with respect to variables, and in what.

    It is built to find out, and not run. Functions that cannot be built are not ours to report: the
    call itself will.
    """
    operations: list[Any] = []
    with Observer() as observed, contextlib.suppress(Exception):
        operations = function.get_concrete_function(*args, **kwargs).graph.get_operations()
    if not observed.handed_over:
        return ""
    low = any(names_low_type(attributes(operation)) for operation in operations)
    return "half" if low else "full"


def _is_users(function: Any) -> bool:
    _, written = tf_decorator.unwrap(function.python_function)
    code = getattr(written, "__code__", None)
    return code is not None and is_users(code.co_filename)
