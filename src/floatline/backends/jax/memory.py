"""Memory on JAX: its errors when none is left, and where a backward pass starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

# What `jax.grad` and `jax.value_and_grad` start from; they look it up when they are called.
from jax._src.lax import lax

from floatline.patches import replaced

START = "_one_vjp"

_REFUSALS = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")


def ran_short(error: Exception) -> bool:
    """Whether there was not enough memory."""
    if not isinstance(error, jax.errors.JaxRuntimeError):
        return isinstance(error, MemoryError)
    return any(words in str(error) for words in _REFUSALS)


def on_host() -> bool:
    """Whether steps are computed in the memory of the host, which Linux does not refuse."""
    return bool(jax.default_backend() == "cpu")


@contextlib.contextmanager
def starting_at(seed: float) -> Iterator[None]:
    """While active, the gradients that are traced start at `seed` instead of 1.

    Not those that are differentiated again, nor those of each example by itself: what becomes of
    them is no sum over rows.
    """

    def around(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def start(answer: Any) -> Any:
            inner = isinstance(answer, jax.core.Tracer) and not _is_outermost(answer)
            one = original(answer)
            return one if inner else lax.full_like(one, seed)

        return start

    if seed == 1.0:
        yield
        return
    with replaced(lax, START, around):
        yield


def _is_outermost(tracer: Any) -> bool:
    return type(tracer).__name__ == "DynamicJaxprTracer"
