"""Collects what is to be measured while a traced step is built, and pools it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.lanes import Array
from floatline.records import NotTraced
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Kernels, Pack, Segments, concatenate, measure

POOL_ELEMENTS = 1 << 22
"""Elements measured together. Each pool is compiled anew, so pools are few and large; they must
not keep too much of the step alive either (16 MiB a lane)."""


class Kind(NamedTuple):
    """What arrays must have in common to be pooled: dtype, and which lanes are one array."""

    dtype: str
    shadow_is_computed: bool
    local_is_computed: bool
    local_is_shadow: bool

    @property
    def distinct_lanes(self) -> tuple[int, ...]:
        """Positions of the lanes that are arrays of their own: computed, shadow, local."""
        shadow = () if self.shadow_is_computed else (1,)
        local = () if self.local_is_computed or self.local_is_shadow else (2,)
        return (0, *shadow, *local)

    def all_lanes(self, distinct: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Computed, shadow and local from the distinct lanes."""
        by_position = dict(zip(self.distinct_lanes, distinct, strict=True))
        computed = by_position[0]
        shadow = by_position.get(1, computed)
        local = shadow if self.local_is_shadow else computed
        return computed, shadow, by_position.get(2, local)


class _Pending(NamedTuple):
    site: int
    lanes: tuple[Array, Array, Array]
    """Computed, shadow, local."""


class Recorder:
    """Measures sites of one function under construction.

    Args:
        ledger: Where sites are entered; shared by the recorders of all nested functions.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._pools: dict[Kind, list[_Pending]] = {}
        self._elements: dict[Kind, int] = {}
        self._packs: list[tuple[list[int], Pack]] = []

    def measure(
        self, description: Description, computed: Array, shadow: Array, local: Array
    ) -> int:
        """Enters a site and has its arrays measured; returns the site's index."""
        site = self.ledger.add(description)
        kind = Kind(description.dtype, shadow is computed, local is computed, local is shadow)
        size = math.prod(np.shape(computed))
        if self._elements.get(kind, 0) + size > POOL_ELEMENTS and kind in self._pools:
            self._flush(kind)
        self._pools.setdefault(kind, []).append(_Pending(site, (computed, shadow, local)))
        self._elements[kind] = self._elements.get(kind, 0) + size
        return site

    def nested(self) -> Recorder:
        """A recorder of the same kind for a nested function."""
        return Recorder(self.ledger)

    def absorb(self, sites: Sequence[int], pack: Pack) -> None:
        """Takes over the measurements of a nested function."""
        self._packs.append((list(sites), pack))

    def finish(self) -> tuple[list[int], Pack | None]:
        """All measured sites and their statistics, row by row; None when there are none."""
        for kind in list(self._pools):
            self._flush(kind)
        if not self._packs:
            return [], None
        sites = [site for indices, _ in self._packs for site in indices]
        return sites, concatenate([pack for _, pack in self._packs])

    def _flush(self, kind: Kind) -> None:
        pending = self._pools.pop(kind)
        self._elements.pop(kind)
        self._packs.append(([p.site for p in pending], _pool(kind, pending)))


class Census(Recorder):
    """Counts sites and measures nothing: for functions that are traced to be thrown away."""

    def measure(
        self, description: Description, computed: Array, shadow: Array, local: Array
    ) -> int:
        """Enters a site."""
        del computed, shadow, local
        return self.ledger.add(description)

    def nested(self) -> Recorder:
        """A census of a nested function."""
        return Census(self.ledger)


class Omissions:
    """Counts operations that could not be shadowed, by type and reason."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self.moved = 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While active nothing is counted: for runs that are thrown away."""
        kept = dict(self._counts), self.moved
        try:
            yield
        finally:
            self._counts, self.moved = kept

    def add(self, operation: str, reason: str) -> None:
        """Counts one operation."""
        key = (operation, reason)
        self._counts[key] = self._counts.get(key, 0) + 1

    def listed(self) -> tuple[NotTraced, ...]:
        """What was counted, in order of first appearance."""
        return tuple(NotTraced(op, n, reason) for (op, reason), n in self._counts.items())


def _pool(kind: Kind, pending: Sequence[_Pending]) -> Pack:
    lanes = [[_flat(p.lanes[lane]) for p in pending] for lane in kind.distinct_lanes]
    return Pack(*_measured(lanes, kind=kind))


def _flat(array: Array) -> Array:
    return jnp.ravel(lax.convert_element_type(array, jnp.float32))


@partial(jax.jit, static_argnames="kind")
def _measured(lanes: list[list[Array]], *, kind: Kind) -> Pack:
    joined = [jnp.concatenate(parts) for parts in lanes]
    return measure(*kind.all_lanes(joined), kind.dtype, _segments(lanes[0]), KERNELS)


def _segments(arrays: Sequence[Array]) -> Segments | None:
    if len(arrays) == 1:
        return None
    numbers = [lax.full((array.size,), index, jnp.int32) for index, array in enumerate(arrays)]
    sizes = np.array([array.size for array in arrays], np.int32)
    return Segments(jnp.concatenate(numbers), jnp.asarray(sizes), len(arrays))


def _bits(array: Array) -> Array:
    return lax.bitcast_convert_type(array, jnp.int32)


def _segment_sum(values: Array, numbers: Array, count: int) -> Array:
    return jax.ops.segment_sum(values, numbers, count, indices_are_sorted=True)


def _segment_max(values: Array, numbers: Array, count: int) -> Array:
    return jax.ops.segment_max(values, numbers, count, indices_are_sorted=True)


def _histogram(values: Array, length: int) -> Array:
    return jnp.bincount(values, length=length).astype(jnp.int32)


def _select(mask: Array, vectors: Sequence[Array]) -> Sequence[Array]:
    """Everything: XLA knows no arrays of a length that depends on values.

    Ordinary elements then fall into the class of ordinary elements, where `decode` would have
    added them.
    """
    del mask
    return vectors


KERNELS = Kernels(_bits, _segment_sum, _segment_max, _histogram, _select)
