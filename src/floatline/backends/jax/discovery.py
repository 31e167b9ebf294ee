"""Finds the compiled training step of a loop that was written by hand and carries no mark.

A script may never import Keras, so nothing here does.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from floatline.backends.interface import CallHandler, StepKind
from floatline.backends.jax.handed import Handed, handed_call
from floatline.backends.jax.jaxprs import differentiates, every_equation
from floatline.backends.jax.lanes import names_low_type
from floatline.backends.jax.leaves import hashable, is_array
from floatline.patches import replaced
from floatline.sources import is_users, user_asked

COMPILERS = ("jit", "pmap")
"""Names in `jax` of what compiles a function."""


@contextlib.contextmanager
def find_steps(handler: CallHandler) -> Iterator[None]:
    """While active, functions that are compiled for the user go to `handler`.

    Compiled for the user are functions of the user's, and what a library compiles because the
    user called it, as `nnx.jit` and `eqx.filter_jit` do. A function that was compiled earlier
    cannot be found: JAX gives it a type of its own, which nobody can change. Only the outermost
    call counts: what a step calls is part of the step. Where calls are being answered already,
    because the script has imported JAX before Keras, nothing is added.
    """
    if any(isinstance(getattr(jax, name), _Compiler) for name in COMPILERS):
        yield
        return
    calls = _Calls(handler)
    with contextlib.ExitStack() as stack:
        for name in COMPILERS:
            stack.enter_context(replaced(jax, name, lambda made: _Compiler(made, calls)))
        stack.callback(calls.end)
        yield


def traced(arguments: Any) -> bool:
    """Whether JAX is tracing what it calls with these arguments, instead of running it."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments))


class _Calls:
    """Answers calls of compiled functions."""

    def __init__(self, handler: CallHandler) -> None:
        self._handler = handler
        self._running = False
        self._ended = False

    def end(self) -> None:
        """From now on all calls take their course: libraries keep what stood in for `jax.jit`."""
        self._ended = True

    def answer(self, function: Compiled, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs one call of a compiled function, or lets the handler run it."""
        if self._running or self._ended or traced((args, kwargs)):
            return function.compiled(*args, **kwargs)
        self._running = True
        try:
            return self._handler(
                *function.handed(args, kwargs, lambda: function.kind(args, kwargs))
            )
        finally:
            self._running = False


class _Compiler:
    """Stands in for `jax.jit`, which is called with a function, or with options alone."""

    def __init__(self, original: Callable[..., Any], calls: _Calls) -> None:
        self._original = original
        self._calls = calls
        functools.update_wrapper(self, original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        compiled = self._original(*args, **kwargs)
        if not args and not {"fun", "f"} & set(kwargs):
            return lambda function: self._watched(compiled(function))
        return self._watched(compiled)

    def _watched(self, compiled: Any) -> Any:
        caller = sys._getframe(1)  # noqa: SLF001 (as `inspect` does, without the source)
        while caller.f_code.co_filename == __file__ and caller.f_back is not None:
            caller = caller.f_back
        if is_users(caller.f_code.co_filename):
            return Compiled(compiled, self._calls) if _is_users(compiled) else compiled
        return Compiled(compiled, self._calls, wrapped=True) if user_asked() else compiled


def _is_users(compiled: Any) -> bool:
    """Whether a function that the user's line compiles is the user's own."""
    function = inspect.unwrap(compiled)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    code = getattr(function, "__code__", None)
    return code is not None and is_users(code.co_filename)


class Compiled:
    """A compiled function whose calls are watched; in all else the function itself.

    Args:
        compiled: What `jax.jit` returned.
        calls: Answers its calls.
        wrapped: Whether a library calls it in the place of what the user calls.
    """

    def __init__(self, compiled: Any, calls: _Calls, *, wrapped: bool = False) -> None:
        self.compiled = compiled
        self._calls = calls
        self._kinds: dict[Any, StepKind] = {}
        self._wrapped = wrapped
        self._handed = Handed(compiled)
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

    def handed(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], kind: Callable[[], StepKind]
    ) -> tuple[Any, Callable[[], StepKind], tuple[Any, ...], Mapping[str, Any]]:
        """What a handler is told of a call."""
        if not (self._wrapped or kwargs):
            return self.compiled, kind, args, kwargs
        return self._handed, kind, handed_call(self.compiled, args, kwargs), {}

    def kind(self, args: Any, kwargs: Any) -> StepKind:
        """Whether the function differentiates, and in what; traced to find out, and not run.

        Functions that cannot be traced are not ours to report: the call itself will.
        """
        # One compiled function of a library's serves several of the user's, which are among what
        # it is called with.
        key = _settings(args, kwargs) if self._wrapped else None
        if key not in self._kinds:
            self._kinds[key] = ""
            with contextlib.suppress(Exception):
                self._kinds[key] = _kind(_traced(self.compiled, args, kwargs))
        return self._kinds[key]


def _settings(args: Any, kwargs: Any) -> Any:
    leaves, structure = jax.tree.flatten((args, kwargs))
    return structure, tuple(hashable(leaf) for leaf in leaves if not is_array(leaf))


def _kind(jaxpr: Any) -> StepKind:
    if not differentiates(jaxpr):
        return ""
    return "half" if any(map(names_low_type, every_equation(jaxpr))) else "full"


def _traced(compiled: Any, args: Any, kwargs: Any) -> Any:
    if hasattr(compiled, "trace"):
        return compiled.trace(*args, **kwargs).jaxpr
    return jax.make_jaxpr(compiled)(*args, **kwargs)
