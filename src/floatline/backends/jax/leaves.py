"""Batches taken apart into arrays, and the part of them that a pure step hands on to itself."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from floatline.backends.interface import Batch
from floatline.backends.jax.lanes import Array


@dataclass(frozen=True, slots=True)
class Leaves:
    """A batch taken apart into arrays, which the step is given, and all else, which stays in it.

    Attributes:
        arrays: The arrays.
        names: Their names: the path from the batch to them.
        key: Equal for batches that the same jaxpr serves.
        fixed: All leaves; a `_Dynamic` where an array goes.
        structure: How the batch is built of its leaves.
    """

    arrays: list[Array]
    names: tuple[str, ...]
    key: Any
    fixed: tuple[Any, ...]
    structure: Any

    @classmethod
    def of(
        cls,
        batch: Batch,
        names: Sequence[str] = (),
        *,
        numbers: bool = False,
        static: Collection[int] = (),
    ) -> Leaves:
        """Takes a batch apart.

        Args:
            batch: The batch, or one that is taken apart already.
            names: What the elements of a tuple are called.
            numbers: Whether whole numbers of Python's are data, too, as `jax.jit` takes them:
                a count of steps that was left in the step would make each step another one.
            static: Positions in a tuple of what holds no data, whatever it is.
        """
        if isinstance(batch, Leaves):
            return batch
        paths, structure = jax.tree_util.tree_flatten_with_path(batch)
        chosen = [
            (path, leaf)
            for path, leaf in paths
            if (is_array(leaf) or (numbers and isinstance(leaf, int)))
            and getattr(path[0] if path else None, "idx", None) not in static
        ]
        given = {id(path) for path, _ in chosen}
        fixed = tuple(_DYNAMIC if id(path) in given else leaf for path, leaf in paths)
        arrays = [jax.numpy.asarray(leaf) for _, leaf in chosen]
        places = [path for path, _ in chosen]
        called = _without_holders([_name(path, names) for path in places], places)
        key = (structure, tuple(map(hashable, fixed)), tuple(map(aval, arrays)))
        return cls(arrays, called, key, fixed, structure)

    def filled(self, arrays: Sequence[Any]) -> Batch:
        """The batch with other arrays in the place of its own."""
        waiting = iter(arrays)
        leaves = [next(waiting) if leaf is _DYNAMIC else leaf for leaf in self.fixed]
        return jax.tree.unflatten(self.structure, leaves)

    def replaced(self, before: Sequence[Any], after: Sequence[Any]) -> dict[int, Any]:
        """New values of the arrays that a step has replaced in the batch itself, by position.

        Args:
            before: What the batch held, filled with other arrays, before the step.
            after: What it holds now.
        """
        places = [place for place, leaf in enumerate(self.fixed) if leaf is _DYNAMIC]
        if not len(before) == len(after) == len(self.fixed):
            return {}
        return {
            position: after[place]
            for position, place in enumerate(places)
            if after[place] is not before[place] and is_array(after[place])
        }

    def without(self, positions: Collection[int]) -> Leaves:
        """The same with no more than the shapes of some of its arrays."""
        arrays = [
            jax.ShapeDtypeStruct(shape, dtype, weak_type=weak) if n in positions else array
            for n, array in enumerate(self.arrays)
            for shape, dtype, weak in [aval(array)]
        ]
        return replace(self, arrays=arrays)

    @property
    def nbytes(self) -> int:
        """Memory that the arrays hold."""
        return sum(getattr(array, "nbytes", 0) for array in self.arrays)


@dataclass(frozen=True, slots=True)
class Rest:
    """What a compiled function of a library's is called with, besides arrays.

    Attributes:
        structure: The structure of its arguments.
        fixed: All their leaves that are no arrays; None where an array goes.
        order: Where each leaf is found among the named arrays and the others; -1 if it is fixed.
    """

    structure: Any
    fixed: tuple[Any, ...]
    order: tuple[int, ...]

    def __hash__(self) -> int:
        return hash((self.structure, tuple(map(hashable, self.fixed)), self.order))

    def filled(self, arrays: Sequence[Array]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments, with arrays in the place of the former ones."""
        leaves = [
            arrays[place] if place >= 0 else leaf
            for leaf, place in zip(self.fixed, self.order, strict=True)
        ]
        args, kwargs = jax.tree.unflatten(self.structure, leaves)
        return args, kwargs


class _Dynamic:
    """Stands where an array goes."""


_DYNAMIC = _Dynamic()


def objects_in(batch: Batch) -> list[Any]:
    """The leaves of a batch; nothing if its containers make them anew each time they are asked."""
    once, twice = jax.tree.leaves(batch), jax.tree.leaves(batch)
    alike = len(once) == len(twice) and all(a is b for a, b in zip(once, twice, strict=True))
    return once if alike else []


class _At(int):
    """The position of an array among all arrays."""


def is_array(leaf: Any) -> bool:
    """Whether a leaf of a batch is data; numbers in the code, names and settings are not.

    Example:

    >>> is_array(np.zeros(3)), is_array(0.1), is_array(3), is_array("mean")
    (True, True, False, False)
    """
    if isinstance(leaf, (jax.Array, np.generic, float)):
        return True
    dtype = getattr(leaf, "dtype", None)
    return hasattr(leaf, "__array__") and getattr(dtype, "kind", "") not in "OSU"


def static_positions(function: Any) -> frozenset[int]:
    """Positions of the arguments that a compiled function takes as settings.

    Of a function whose settings JAX does not tell, arguments are settings if they are no data.
    """
    told = getattr(getattr(function, "_jit_info", None), "static_argnums", None)
    return frozenset(told or ())


def static_names(function: Any) -> frozenset[str]:
    """Names of the arguments that a compiled function takes as settings, as far as JAX tells."""
    told = getattr(getattr(function, "_jit_info", None), "static_argnames", None)
    return frozenset(told or ())


def aval(array: Array) -> tuple[Any, ...]:
    """Shape, dtype and weakness of an array: what a jaxpr is made for."""
    return tuple(array.shape), array.dtype, bool(getattr(array, "weak_type", False))


def handed_on(
    batch: Leaves, inputs: Sequence[Any], structure: Any, outputs: Sequence[Any]
) -> dict[int, int]:
    """Which arrays of a batch a pure step returns anew: its state, by position in the output.

    A part of what it is given and a part of what it returns are taken for the same state when
    they hold arrays under the same names, of the same shapes and dtypes.

    Args:
        batch: What the step is given.
        inputs: Abstract values of its arrays.
        structure: The structure of what it returns.
        outputs: Abstract values of what it returns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = batch.filled([_At(n) for n in range(len(batch.arrays))])
            returned = jax.tree.unflatten(structure, [_At(n) for n in range(len(outputs))])
    except Exception:  # noqa: BLE001 (a class of the user's may insist on what it holds)
        return {}
    others = [_positions(part) for part in _parts(returned, depth=4)]
    found: dict[int, int] = {}
    for part in (part for whole in _as_handed(given) for part in _parts(whole, depth=3)):
        ours = _positions(part)
        if not ours or any(n in found for n in ours.values()):
            continue
        for theirs in others:
            taken = not set(theirs.values()).isdisjoint(found.values())
            if taken or list(ours) != list(theirs):
                continue
            pairs = list(zip(ours.values(), theirs.values(), strict=True))
            if all(_same(inputs[a], outputs[b]) for a, b in pairs):
                found.update(pairs)
                break
    return found


def _as_handed(given: Any) -> Iterator[Any]:
    """What a step is given, by the user's names, and as a library has arranged it."""
    yield given
    if isinstance(given, tuple) and isinstance(given[-1], Rest):
        named, others, rest = given
        yield rest.filled([*jax.tree.leaves(named), *others])


def _parts(tree: Any, depth: int) -> Iterator[Any]:
    """A tree and what it is made of, large parts first."""
    level = [tree]
    for _ in range(depth):
        yield from level
        level = [child for part in level for child in _children(part)]


def _children(part: Any) -> list[Any]:
    """What any registered container holds, one level down."""
    children = jax.tree.leaves(part, is_leaf=lambda inner: inner is not part)
    return [child for child in children if child is not part]


def _positions(part: Any) -> dict[str, int]:
    """Positions of the arrays by where they are in a part of a tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(part)
    return {jax.tree_util.keystr(path): int(leaf) for path, leaf in leaves if isinstance(leaf, _At)}


def _same(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and one.dtype == other.dtype)


def hashable(leaf: Any) -> Any:
    """A leaf that can be hashed, or its identity."""
    try:
        hash(leaf)
    except TypeError:
        return id(leaf)
    return leaf


def _name(path: Any, names: Sequence[str]) -> str:
    first = path[0] if path else None
    position = getattr(first, "idx", None)
    if position is None or position >= len(names):
        return jax.tree_util.keystr(path, simple=True, separator="/") or "batch"
    below = jax.tree_util.keystr(path[1:], simple=True, separator="/")
    return "/".join(filter(None, (names[position], below)))


def _without_holders(names: Sequence[str], paths: Sequence[Any]) -> tuple[str, ...]:
    """Names without the attribute in which an object of a library's holds its only array.

    What a dictionary has under that name is called so by the user.
    """
    entries = [bool(path) and isinstance(path[-1], jax.tree_util.DictKey) for path in paths]
    short = tuple(
        name if entry else name.removesuffix("/value")
        for name, entry in zip(names, entries, strict=True)
    )
    return short if len(set(short)) == len(set(names)) else tuple(names)
