"""Sees to it that a step nobody compiles is a function of what it is given, as JAX takes it for.

What is compiled runs its Python once; such a step would run it each time. Where that would make a
difference, nothing that is told of the step would be true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from floatline.backends.jax.jaxprs import every_equation, is_variable, opened


class ImpureError(Exception):
    """A step does more than to return what follows from what it is given."""


@contextmanager
def leaves_objects_alone(objects: Iterable[Any]) -> Iterator[None]:
    """Puts back what a step, while it is traced, writes to attributes of objects.

    Raises:
        ImpureError: It has written what it computes.
    """
    before = [(one, dict(vars(one))) for one in objects if hasattr(one, "__dict__")]
    lists = [(held, list(held)) for _, kept in before for held in kept.values() if _is_list(held)]
    try:
        yield
    finally:
        written = [
            f"{type(one).__name__}.{name}"
            for one, kept in before
            for name, value in list(vars(one).items())
            if _restored(one, name, value, kept) and _holds_tracers(value)
        ]
        for held, kept in lists:
            written += ["a list"] if any(map(_holds_tracers, held[len(kept) :])) else []
            held[:] = kept
    if written:
        raise ImpureError(f"it writes to {written[0]}, and does not return that.")


def _is_list(held: Any) -> bool:
    return type(held) is list


def _restored(one: Any, name: str, value: Any, kept: dict[str, Any]) -> bool:
    if name in kept and kept[name] is value:
        return False
    if name in kept:
        object.__setattr__(one, name, kept[name])
    else:
        object.__delattr__(one, name)
    return True


def _holds_tracers(value: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def same_program(one: Any, other: Any) -> bool:
    """Whether two jaxprs do the same with the same numbers.

    Example:

    >>> first, second = (jax.make_jaxpr(lambda x, n=n: x * n)(1.0) for n in (2.0, 3.0))
    >>> same_program(first, first), same_program(first, second)
    (True, False)
    """
    ours, theirs = list(_lines(one)), list(_lines(other))
    return len(ours) == len(theirs) and all(
        a[0] == b[0] and all(map(_equal, a[1], b[1])) for a, b in zip(ours, theirs, strict=True)
    )


def _lines(jaxpr: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Each operation and what it gives; the numbers that stand in it."""
    yield "constants", list(opened(jaxpr)[1])
    for equation in every_equation(jaxpr):
        shapes = tuple(str(atom.aval) for atom in equation.outvars)
        numbers = [atom.val for atom in equation.invars if not is_variable(atom)]
        consts = [
            const
            for parameter in equation.params.values()
            for const in getattr(parameter, "consts", ())
        ]
        name = (equation.primitive.name, shapes, len(numbers), len(consts))
        yield name, [*numbers, *consts]


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return bool(np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True))
    except TypeError:  # Keys of random numbers, strings.
        return repr(one) == repr(other)
