"""Keeps numbers in the code as they were written until the jaxpr itself rounds them.

JAX rounds a number that becomes a 16-bit float while it traces, and then nobody can tell 1e-8
from 0. Here the rounding is made an operation of the jaxpr, with the number as its input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.lanes import LOW, Array
from floatline.patches import replaced


@contextlib.contextmanager
def unrounded_literals() -> Iterator[None]:
    """While active, a jaxpr that is traced rounds its literals itself.

    JAX has no public way to this. Where its inside is not what is known here, nothing is
    replaced: literals are then shown as they are rounded, and all else is the same.
    """
    from jax._src.interpreters import partial_eval
    from jax._src.lax import lax as inside

    rules = getattr(partial_eval, "const_fold_rules", None)
    primitive = lax.convert_element_type_p
    with contextlib.ExitStack() as stack:
        if isinstance(rules, dict) and primitive in rules:
            stack.callback(rules.__setitem__, primitive, rules[primitive])
            rules[primitive] = _folding(rules[primitive])
            for owner, name in ((jnp, "array"), (jnp, "asarray")):
                stack.enter_context(replaced(owner, name, _making))
            if "_convert_element_type" in vars(inside):
                stack.enter_context(replaced(inside, "_convert_element_type", _making))
        yield


def _folding(original: Callable[..., Any]) -> Callable[..., Any]:
    def fold(constants: Any, params: Any, avals: Any) -> Any:
        return None if params.get("new_dtype") in LOW else original(constants, params, avals)

    return fold


def _making(original: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for a function that makes an array of a dtype from numbers."""

    def make(numbers: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        exact = _float32(numbers, dtype)
        return original(numbers if exact is None else exact, dtype, *args, **kwargs)

    return make


def _float32(numbers: Any, dtype: Any) -> Array | None:
    """The numbers in float32, when they are numbers in the code about to become 16-bit floats."""
    plain = isinstance(numbers, (int, float, list, tuple, np.ndarray, np.floating, np.integer))
    if dtype is None or not plain or isinstance(numbers, bool) or not _is_low(dtype):
        return None
    try:
        given = np.asarray(numbers)
        with np.errstate(over="ignore"):
            exact, rounded = given.astype(np.float32), given.astype(dtype)
            twice = exact.astype(dtype)
    except (TypeError, ValueError):  # A nest of arrays: not numbers in the code.
        return None
    # Rounding twice is not always rounding once; the step itself must not change.
    if given.dtype.kind not in "fiu" or not np.array_equal(rounded, twice, equal_nan=True):
        return None
    return lax.convert_element_type(exact, np.float32) if _traced() else None


def _is_low(dtype: Any) -> bool:
    try:
        return np.dtype(jnp.dtype(dtype)) in LOW
    except TypeError:
        return False


def _traced() -> bool:
    """Whether a jaxpr is being traced: outside of one there is nothing to be seen."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)
