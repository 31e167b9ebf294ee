"""A compiled step without a mark is found by what it does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from floatline.backends.interface import StepKind
from floatline.backends.jax.discovery import find_steps

ONE = jnp.ones(3)


class Handler:
    """Notes which calls arrive, and lets them take their course."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, StepKind]] = []

    def __call__(
        self,
        function: Callable[..., Any],
        kind: Callable[[], StepKind],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        self.calls.append((function.__name__, kind()))
        return function(*args, **kwargs)


def loss(w: jax.Array) -> jax.Array:
    return jnp.sum(w**2)


def test_a_function_that_differentiates_is_a_step() -> None:
    handler = Handler()
    with find_steps(handler):

        @jax.jit  # type: ignore[untyped-decorator]
        def step(w: jax.Array) -> jax.Array:
            return w - 0.1 * jax.grad(loss)(w)

        @partial(jax.jit, static_argnames="power")
        def evaluate(w: jax.Array, power: int) -> jax.Array:
            return loss(w) ** power

        after = step(ONE)
        value = evaluate(after, power=2)
    assert handler.calls == [("step", "full"), ("evaluate", "")]
    assert float(value) == float(loss(ONE - 0.2) ** 2)


def test_what_a_step_calls_is_part_of_it() -> None:
    handler = Handler()
    with find_steps(handler):
        inner = jax.jit(loss)

        @jax.jit  # type: ignore[untyped-decorator]
        def step(w: jax.Array) -> jax.Array:
            return w - jax.grad(inner)(w)

        step(ONE)
    assert handler.calls == [("step", "full")]


def test_a_library_keeps_its_own_functions() -> None:
    handler = Handler()
    before = jax.jit
    with find_steps(handler):
        compiled = jax.jit(jnp.tanh)
        compiled(ONE)
    assert handler.calls == []
    assert jax.jit is before


def test_a_method_is_bound() -> None:
    handler = Handler()
    with find_steps(handler):

        class Trainer:
            rate = 0.1

            @partial(jax.jit, static_argnums=0)
            def step(self, w: jax.Array) -> jax.Array:
                return w - self.rate * jax.grad(loss)(w)

        after = Trainer().step(ONE)
    assert handler.calls == [("step", "full")]
    assert float(after[0]) == float(ONE[0] - 0.2)


def test_a_compiled_function_is_still_jaxs() -> None:
    with find_steps(Handler()):
        compiled = jax.jit(loss)
        assert compiled.lower(ONE).as_text()
        assert inspect.unwrap(compiled) is loss
        assert float(jax.grad(compiled)(ONE)[0]) == 2
