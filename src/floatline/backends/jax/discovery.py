"""Finds the compiled training step of a loop that was written by hand and carries no mark."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax

from floatline.backends.interface import CallHandler
from floatline.backends.jax.jaxprs import differentiates
from floatline.patches import replaced
from floatline.sources import is_users


@contextlib.contextmanager
def find_steps(handler: CallHandler) -> Iterator[None]:
    """While active, functions of the user's that are compiled with `jax.jit` go to `handler`.

    A function that was compiled earlier cannot be found: JAX gives it a type of its own, which
    nobody can change. Only the outermost call counts: what a step calls is part of the step.
    """
    calls = _Calls(handler)
    with replaced(jax, "jit", calls.around):
        yield


class _Calls:
    """Answers calls of compiled functions."""

    def __init__(self, handler: CallHandler) -> None:
        self._handler = handler
        self._running = False

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Stands in for `jax.jit`, which is called with a function, or with options alone."""

        @functools.wraps(original)
        def jit(*args: Any, **kwargs: Any) -> Any:
            compiled = original(*args, **kwargs)
            if not args and "fun" not in kwargs:
                return lambda function: self._watched(compiled(function))
            return self._watched(compiled)

        return jit

    def _watched(self, compiled: Any) -> Any:
        return Compiled(compiled, self) if _is_users(compiled) else compiled

    def answer(self, function: Compiled, args: Any, kwargs: Any) -> Any:
        """Runs one call of a compiled function, or lets the handler run it."""
        leaves = jax.tree.leaves((args, kwargs))
        if self._running or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return function.compiled(*args, **kwargs)
        self._running = True
        try:
            return self._handler(
                function.compiled, lambda: function.is_step(args, kwargs), args, kwargs
            )
        finally:
            self._running = False


class Compiled:
    """A compiled function of the user's whose calls are watched; in all else the function itself.

    Args:
        compiled: What `jax.jit` returned.
        calls: Answers its calls.
    """

    def __init__(self, compiled: Any, calls: _Calls) -> None:
        self.compiled = compiled
        self._calls = calls
        self._trains: bool | None = None
        functools.update_wrapper(self, compiled, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the function, or lets an active capture run it."""
        return self._calls.answer(self, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "compiled":  # Not set yet, as while unpickling: do not look for it in itself.
            raise AttributeError(name)
        return getattr(self.compiled, name)

    def is_step(self, args: Any, kwargs: Any) -> bool:
        """Whether the function differentiates; it is traced to find out, and not run.

        Functions that cannot be traced are not ours to report: the call itself will.
        """
        if self._trains is None:
            self._trains = False
            with contextlib.suppress(Exception):
                self._trains = differentiates(self.compiled.trace(*args, **kwargs).jaxpr)
        return self._trains


def _is_users(compiled: Any) -> bool:
    code = getattr(inspect.unwrap(compiled), "__code__", None)
    return code is not None and is_users(code.co_filename)
