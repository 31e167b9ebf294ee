"""A compiled function, called with what the user calls by name instead of in its own order.

Equinox and Flax NNX compile functions of their own. What the user hands to these libraries, a model
or an optimizer, arrives there as arrays without names: the same arrays, which tells them apart.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FrameType
from typing import Any

import jax

from floatline.backends.jax.lanes import Array
from floatline.backends.jax.leaves import Rest, is_array, static_names, static_positions
from floatline.sources import is_users


class Handed:
    """A compiled function of a library's as a function of what `handed_call` returns.

    Args:
        compiled: What `jax.jit` returned to the library.
    """

    def __init__(self, compiled: Callable[..., Any]) -> None:
        self.compiled = compiled
        self.__name__ = getattr(compiled, "__name__", type(compiled).__name__)
        self.__wrapped__ = compiled
        self.__signature__ = inspect.signature(Handed.__call__.__get__(self))

    def __call__(self, named: Mapping[str, Any], others: Sequence[Array], rest: Rest) -> Any:
        """Runs the function."""
        args, kwargs = rest.filled([*jax.tree.leaves(named), *others])
        return self.compiled(*args, **kwargs)


def handed_call(
    compiled: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[Array], Rest]:
    """A call of a library's compiled function, as one of what the user calls by name.

    To be called while the call is running: the user's names are those of the library's function
    that the user's line calls.

    Returns:
        The user's arguments with arrays for leaves, all other arrays, and the rest.
    """
    settings = static_positions(compiled) | static_names(compiled)
    paths, structure = jax.tree_util.tree_flatten_with_path((args, kwargs))
    leaves = [leaf for _, leaf in paths]
    data = [is_array(leaf) and not _is_setting(path, settings) for path, leaf in paths]
    inner = {id(leaf) for leaf, given in zip(leaves, data, strict=True) if given}
    named = jax.tree.map(lambda leaf: leaf if id(leaf) in inner else None, _users_arguments())
    known = jax.tree.leaves(named)
    waiting: dict[int, list[int]] = defaultdict(list)
    for place, leaf in enumerate(known):
        waiting[id(leaf)].append(place)
    others: list[Array] = []
    order: list[int] = []
    for leaf, given in zip(leaves, data, strict=True):
        if not given:
            order.append(-1)
        elif waiting[id(leaf)]:
            order.append(waiting[id(leaf)].pop(0))
        else:
            order.append(len(known) + len(others))
            others.append(leaf)
    fixed = tuple(None if given else leaf for leaf, given in zip(leaves, data, strict=True))
    return named, others, Rest(structure, fixed, tuple(order))


def _is_setting(path: Sequence[Any], settings: Collection[int | str]) -> bool:
    """Whether a leaf belongs to an argument that is a setting, by its position or its name."""
    return len(path) > 1 and getattr(path[1], "idx", getattr(path[1], "key", None)) in settings


def _users_arguments() -> Mapping[str, Any]:
    """What the user's line that is running hands to the library, by the names that it has there."""
    frame = _called_by_user()
    if frame is None:
        return {}
    names, rest, more, values = inspect.getargvalues(frame)
    given = {name: values[name] for name in names}
    spread, keywords = values.get(rest or "", ()), values.get(more or "", {})
    for owner in given.values():  # The object whose `__call__` it is knows the user's own names.
        with contextlib.suppress(Exception):
            bound = inspect.signature(owner).bind(*spread, **keywords)
            given = dict(bound.arguments)
            break
    else:
        given |= {str(number): value for number, value in enumerate(spread)} | keywords
    with contextlib.suppress(Exception):
        jax.tree.leaves(given)
        return given
    return {}


def _called_by_user() -> FrameType | None:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 (as `inspect` does, without the source)
    while frame is not None and frame.f_back is not None:
        if is_users(frame.f_back.f_code.co_filename):
            return frame
        frame = frame.f_back
    return None
