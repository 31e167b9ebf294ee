"""Collects what is to be measured while a traced step is built, and pools it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.lanes import Array, is_float
from floatline.records import NotTraced
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import (
    ROW,
    Kernels,
    Pack,
    Segments,
    concatenate,
    count_differing,
    least_normal,
    measure,
)

Lanes = tuple[Array, Array, Array]
"""Computed, shadow, local."""

POOL_ELEMENTS = 1 << 22
"""Elements measured together. Each pool is compiled anew, so pools are few and large; they must
not keep too much of the step alive either (16 MiB a lane)."""

ALONE_ELEMENTS = 1 << 18
"""From this size on, an array is measured by itself, and lanes that are one array only once."""


class _Pending(NamedTuple):
    site: int
    least: float
    lanes: Lanes


class Recorder:
    """Measures sites of one function under construction.

    Args:
        ledger: Where sites are entered; shared by the recorders of all nested functions.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._pool: list[_Pending] = []
        self._elements = 0
        self._packs: list[tuple[list[int], Pack]] = []

    def measure(
        self, description: Description, computed: Array, shadow: Array, local: Array
    ) -> int:
        """Enters a site and has its arrays measured; returns the site's index."""
        site = self.ledger.add(description)
        lanes = (computed, shadow, local)
        size = math.prod(np.shape(computed))
        integer = not is_float(np.dtype(description.dtype))
        if integer or size >= ALONE_ELEMENTS:
            self._append([site], lambda: _alone(description.dtype, lanes))
            return site
        self._pool.append(_Pending(site, least_normal(description.dtype), lanes))
        self._elements += size
        if self._elements >= POOL_ELEMENTS:
            self._flush()
        return site

    def nested(self) -> Recorder:
        """A recorder of the same kind for a nested function."""
        return Recorder(self.ledger)

    def absorb(self, sites: Sequence[int], pack: Pack) -> None:
        """Takes over the measurements of a nested function."""
        self._packs.append((list(sites), pack))

    def finish(self) -> tuple[list[int], Pack | None]:
        """All measured sites and their statistics, row by row; None when there are none."""
        if self._pool:
            self._flush()
        if not self._packs:
            return [], None
        sites = [site for indices, _ in self._packs for site in indices]
        return sites, concatenate([pack for _, pack in self._packs])

    def _flush(self) -> None:
        pool, self._pool, self._elements = self._pool, [], 0
        self._append([pending.site for pending in pool], lambda: _together(pool))

    def _append(self, sites: Sequence[int], measure_them: Callable[[], Pack]) -> None:
        self._packs.append((list(sites), measure_them()))


class Census(Recorder):
    """Counts sites and measures nothing: for functions that are traced to be thrown away."""

    def nested(self) -> Recorder:
        """A census of a nested function."""
        return Census(self.ledger)

    def _append(self, sites: Sequence[int], measure_them: Callable[[], Pack]) -> None:
        del sites, measure_them


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


def _alone(dtype: str, lanes: Lanes) -> Pack:
    """One array; lanes that are one array are handed over, and compared, once."""
    distinct = list({id(lane): lane for lane in lanes}.values())
    which = tuple(next(n for n, d in enumerate(distinct) if d is lane) for lane in lanes)
    return Pack(*_measured_alone([_flat(lane) for lane in distinct], dtype=dtype, which=which))


def _together(pool: Sequence[_Pending]) -> Pack:
    lanes = [[_flat(pending.lanes[lane]) for pending in pool] for lane in range(3)]
    least = jnp.asarray([pending.least for pending in pool], jnp.float32)
    return Pack(*_measured_together(lanes, least))


@partial(jax.jit, static_argnames=("dtype", "which"))
def _measured_alone(distinct: list[Array], *, dtype: str, which: tuple[int, ...]) -> Pack:
    computed, shadow, local = (distinct[number] for number in which)
    pack = measure(computed, shadow, local, least_normal(dtype), None, KERNELS)
    return pack if is_float(np.dtype(dtype)) else count_differing(pack, computed, shadow)


@jax.jit  # type: ignore[untyped-decorator]
def _measured_together(lanes: list[list[Array]], least: Array) -> Pack:
    sizes = np.array([array.size for array in lanes[0]], np.int32)
    numbers = [lax.full((rows,), index, jnp.int32) for index, rows in enumerate(-(-sizes // ROW))]
    segments = Segments(jnp.concatenate(numbers), jnp.asarray(sizes), len(sizes))
    computed, shadow, local = (jnp.concatenate([_rows(array) for array in row]) for row in lanes)
    return measure(computed, shadow, local, least, segments, KERNELS)


def _flat(array: Array) -> Array:
    return jnp.ravel(lax.convert_element_type(array, jnp.float32))


def _rows(flat: Array) -> Array:
    """The array in whole rows, the last one filled up with zeros."""
    return jnp.pad(flat, (0, -flat.size % ROW)).reshape(-1, ROW)


def _bits(array: Array) -> Array:
    return lax.bitcast_convert_type(array, jnp.int32)


def _histogram(values: Array, length: int) -> Array:
    return jnp.bincount(values, length=length).astype(jnp.int32)


def _select(mask: Array, vectors: Sequence[Array]) -> Sequence[Array]:
    """Everything: XLA knows no arrays of a length that depends on values.

    What the mask leaves out is zero in every lane or normal in every lane, and neither says
    anything in a table of joint classes: zeros are added and taken away again.
    """
    del mask
    return [jnp.ravel(vector) for vector in vectors]


KERNELS = Kernels(
    bits=_bits,
    segment_sum=jax.ops.segment_sum,
    segment_max=jax.ops.segment_max,
    histogram=_histogram,
    select=_select,
)
