"""Pure functions in half precision, and what the tests ask of their traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import floatline
from floatline.backends.jax.lanes import raised
from floatline.records import Site, Trace

HALF = jnp.float16


def steps_made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that every function is added to which JAX makes a jaxpr of from now on."""
    made: list[Any] = []
    make = jax.make_jaxpr

    def counted(step: Any) -> Any:
        made.append(step)
        return make(step)

    monkeypatch.setattr(jax, "make_jaxpr", counted)
    return made


def rows(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape).astype("float32"))


def last(trace: Trace, operation: str) -> Site:
    """The last site of an operation."""
    return [site for site in trace.sites if site.place.operation == operation][-1]


def operations(trace: Trace, phase: str | None = None) -> list[str]:
    """Names of the computed sites' operations, in order."""
    return [
        site.place.operation
        for site in trace.sites
        if site.role == "value" and phase in (None, site.place.phase)
    ]


def agrees_with_float32(function: Callable[..., Any], *args: jax.Array, rel: float = 1e-5) -> Trace:
    """Traces a function of half precision; its result's shadow is the function of float32.

    Args:
        function: Takes arrays and a dtype to compute in, returns an array that it computed last.
        *args: Float32 arrays.
        rel: How far float32 may stray by itself.
    """
    trace = floatline.trace(lambda *given: function(*given, HALF), *args)
    truth = np.asarray(function(*args, raised(np.dtype(HALF)))).astype("float64")
    found = trace.sites[-1].statistics
    assert found.count == truth.size
    assert abs(found.max_abs - np.abs(truth).max()) <= rel * np.abs(truth).max()
    computed = np.asarray(jax.jit(lambda *given: function(*given, HALF))(*args)).astype("float64")
    assert found.computed_max_abs == np.abs(computed).max()
    error = np.abs(computed - truth).sum() / np.abs(truth).sum()
    assert abs(found.error - error) <= 0.02 * error + 1e-6
    return trace
