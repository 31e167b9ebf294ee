"""The mark that lets Floatline find the training step of a loop written by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

StepHandler = Callable[["MarkedStep[Any, Any]", tuple[Any, ...], Mapping[str, Any]], Any]
"""Runs one call of a marked step, and returns what the step returned."""

# The one piece of module state: a mark is placed when the user's script defines its functions,
# long before and far away from the code that may be watching, so nothing can be handed to it.
_HANDLER: ContextVar[StepHandler | None] = ContextVar("floatline_step_handler", default=None)


class MarkedStep(Generic[P, R]):
    """A training step under its mark; without a capture it is the function itself.

    Attributes:
        function: The user's function, compiled or not, bound to its object for a method.
        owner: The object that a method is bound to, or None.
        written: The function as it was marked, before it was bound.
        framework: The framework that it is known to need, or None.
    """

    framework: str | None = None

    def __init__(self, function: Callable[P, R], owner: object = None, written: Any = None) -> None:
        self.function = function
        self.owner = owner
        self.written: Callable[..., Any] = function if written is None else written
        # Only the names: a compiled function's __dict__ belongs to its framework.
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the step, or lets an active capture run it."""
        handler = _HANDLER.get()
        if handler is None:
            return self.function(*args, **kwargs)
        result: R = handler(self, args, kwargs)
        return result

    def __get__(self, instance: Any, owner: type | None = None) -> MarkedStep[..., R]:
        if instance is None:
            return self
        bind = getattr(self.function, "__get__", None)
        bound = (
            functools.partial(self.function, instance) if bind is None else bind(instance, owner)
        )
        return type(self)(bound, owner=instance, written=self.written)

    @property
    def key(self) -> tuple[int, int]:
        """Equal for all calls of the same function on the same object."""
        return id(self.written), id(self.owner)

    def __getattr__(self, name: str) -> Any:
        if name == "function":  # Not set yet, as while unpickling: do not look for it in itself.
            raise AttributeError(name)
        return getattr(self.function, name)


class FoundStep(MarkedStep[P, R]):
    """A step that was found in the source; its function is made anew whenever its code runs."""

    @property
    def key(self) -> tuple[int, int]:
        """Equal for all functions that the same lines make."""
        return id(getattr(self.written, "__code__", self.written)), id(self.owner)


def found_step(function: Callable[P, R]) -> FoundStep[P, R]:
    """Marks what `floatline diagnose` finds to be a training step, though nobody marked it."""
    return FoundStep(function)


class AsideStep(FoundStep[P, R]):
    """A step that was found beside others which name half precision, as it does not."""


class AsideCompiled(AsideStep[P, R]):
    """A compiled step in full precision, where others are in half; it is one object throughout."""

    @property
    def key(self) -> tuple[int, int]:
        """Equal for all calls of the same function."""
        return id(self.written), id(self.owner)


def aside_step(function: Callable[P, R]) -> AsideStep[P, R]:
    """Marks a found step that gives way to others: the teacher of a distillation, a baseline."""
    return AsideStep(function)


class PureStep(FoundStep[P, R]):
    """A step of JAX's that was found in the source and is compiled by nobody."""

    framework = "jax"


def pure_step(function: Callable[P, R]) -> PureStep[P, R]:
    """Marks what `floatline diagnose` finds to be a training step of JAX's."""
    return PureStep(function)


def training_step(function: Callable[P, R]) -> MarkedStep[P, R]:
    """Marks the function that runs one training step of a custom loop.

    Put it above every other decorator. `floatline diagnose` then watches and traces the calls of
    this function; in an ordinary run the mark does nothing.

    Example:
        @floatline.training_step
        @tf.function
        def step(x, y):
            ...

    Args:
        function: A function, method or compiled function of one batch that changes the weights.

    Raises:
        TypeError: What was marked cannot be called.
    """
    if not callable(function):
        raise TypeError(
            f"floatline.training_step marks a function, but received {function!r} of type "
            f"{type(function).__name__}. Put `@floatline.training_step` above the function that "
            "runs one training step."
        )
    return MarkedStep(function)


@contextmanager
def handle_steps(handler: StepHandler) -> Iterator[None]:
    """While active, every call of a marked step goes to `handler`."""
    token = _HANDLER.set(handler)
    try:
        yield
    finally:
        _HANDLER.reset(token)
