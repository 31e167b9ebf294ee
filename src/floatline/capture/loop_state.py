"""The state of a pure step, handed from one call to the next as a loop written by hand does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras

from floatline.backends.interface import Batch
from floatline.errors import InputError


def with_state(function: Callable[..., Any], state: Any, batch: Batch) -> tuple[Any, ...]:
    """The arguments of one call: the state, then the batch, spread if the function takes it so."""
    if isinstance(batch, tuple) and _accepts(function, 1 + len(batch)):
        return state, *batch
    return state, batch


def next_state(returned: Any, state: Any) -> Any:
    """The part of what a step returned that is built like the state it was given.

    Example:

    >>> next_state((0.5, {"w": 2.0}), {"w": 1.0})
    {'w': 2.0}

    Raises:
        InputError: There is none.
    """
    for part in _parts(returned):
        if _structure(part) == _structure(state):
            return part
    raise InputError(
        "The step function was given `state`, but what it returns holds nothing built like it: it "
        f"returned {_described(returned)}.",
        "Let it return the next state, alone or as an element of a tuple: `return state, loss`.",
    )


def _parts(returned: Any) -> Iterator[Any]:
    yield returned
    if isinstance(returned, (tuple, list)):
        yield from returned


def _structure(tree: Any) -> Any:
    """How a nest is built, and of what: names, types, shapes and dtypes, without values."""
    if isinstance(tree, dict):
        return {name: _structure(part) for name, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree), [_structure(part) for part in tree]
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        return tuple(tree.shape), keras.backend.standardize_dtype(tree.dtype)
    return type(tree)


def _described(returned: Any) -> str:
    if isinstance(returned, (tuple, list)):
        return f"a {type(returned).__name__} of {len(returned)} elements"
    return f"a {type(returned).__name__}"


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
