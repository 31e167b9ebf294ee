"""Collects what is to be measured while a traced step is built, and pools it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.counting import count
from floatline.backends.jax.jaxprs import JOIN_SCOPE, MEASURE_SCOPE
from floatline.backends.jax.lanes import Array, is_float
from floatline.backends.jax.measuring import kernels
from floatline.tracing.fused import measure
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import (
    ROW,
    Pack,
    Segments,
    concatenate,
    count_differing,
    least_normal,
)

Lanes = tuple[Array, Array, Array]
"""Computed, shadow, local."""

POOL_ROWS = 1 << 14
"""Rows measured together: 4 MiB a lane, which must be kept until the pool is full."""

POOL_SITES = 1 << 9
"""Arrays measured together."""

ALONE_ELEMENTS = 1 << 18
"""From this size on, an array is measured by itself, and lanes that are one array only once."""


class _Pending(NamedTuple):
    """An array that waits for its pool: its lanes in whole rows."""

    site: int
    least: float
    size: int
    lanes: Lanes


class Recorder:
    """Measures sites of one function under construction.

    Args:
        ledger: Where sites are entered; shared by the recorders of all nested functions.
        kernel: Measure large arrays by the kernel of `counting`.
    """

    def __init__(self, ledger: Ledger, *, kernel: bool = False) -> None:
        self.ledger = ledger
        self._kernel = kernel
        self._pool: list[_Pending] = []
        self._rows = 0
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
            self._append([site], lambda: _alone(description.dtype, lanes, self._kernel))
            return site
        rows = -(-size // ROW)
        if self._rows + rows > POOL_ROWS or len(self._pool) == POOL_SITES:
            self._flush()
        least = least_normal(description.dtype)
        self._pool.append(_Pending(site, least, size, _each(_in_rows, lanes)))
        self._rows += rows
        return site

    def nested(self, *, spread: bool = False) -> Recorder:
        """A recorder of the same kind for a nested function, which may be spread over devices."""
        return Recorder(self.ledger, kernel=self._kernel and not spread)

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
        pool, self._pool, self._rows = self._pool, [], 0
        self._append([pending.site for pending in pool], lambda: _together(pool))

    def _append(self, sites: Sequence[int], measure_them: Callable[[], Pack]) -> None:
        self._packs.append((list(sites), measure_them()))


class Census(Recorder):
    """Counts sites and measures nothing: for functions that are traced to be thrown away."""

    def nested(self, *, spread: bool = False) -> Recorder:
        """A census of a nested function."""
        del spread
        return Census(self.ledger)

    def _append(self, sites: Sequence[int], measure_them: Callable[[], Pack]) -> None:
        del sites, measure_them


def _alone(dtype: str, lanes: Lanes, kernel: bool) -> Pack:
    """One array; lanes that are one array are handed over, and compared, once."""
    distinct = list({id(lane): lane for lane in lanes}.values())
    which = tuple(next(n for n, d in enumerate(distinct) if d is lane) for lane in lanes)
    with jax.named_scope(MEASURE_SCOPE):
        counted = kernel and is_float(np.dtype(dtype))
        return Pack(*_measured_alone(distinct, dtype=dtype, which=which, kernel=counted))


def _together(pool: Sequence[_Pending]) -> Pack:
    """A pool, filled up to one of few sizes, so that few programs measure all pools."""
    filled = sum(len(pending.lanes[0]) for pending in pool)
    rows, sites = _at_least(filled, POOL_ROWS), _at_least(len(pool), POOL_SITES)
    sizes = np.zeros(sites, np.int32)
    sizes[: len(pool)] = [pending.size for pending in pool]
    least = np.ones(sites, np.float32)
    least[: len(pool)] = [pending.least for pending in pool]
    numbers = np.zeros(rows, np.int32)
    numbers[:filled] = np.repeat(np.arange(sites, dtype=np.int32), -(-sizes // ROW))
    with jax.named_scope(JOIN_SCOPE):
        joined = [
            jnp.pad(jnp.concatenate(lane), ((0, rows - filled), (0, 0)))
            for lane in zip(*(pending.lanes for pending in pool), strict=True)
        ]
        measures = [jnp.asarray(array) for array in (least, numbers, sizes)]
    with jax.named_scope(MEASURE_SCOPE):
        pack = _measured_together(joined, *measures)
    return Pack(*(part[: len(pool)] for part in pack))


def _at_least(needed: int, most: int) -> int:
    """The smallest size that a pool may have: the largest, divided by powers of 4."""
    size = most
    while size // 4 >= needed:
        size //= 4
    return size


@partial(jax.jit, static_argnames=("dtype", "which", "kernel"))
def _measured_alone(
    distinct: list[Array], *, dtype: str, which: tuple[int, ...], kernel: bool
) -> Pack:
    if kernel:
        return count([jnp.ravel(array) for array in distinct], which, least_normal(dtype))
    flat = [jnp.ravel(lax.convert_element_type(array, jnp.float32)) for array in distinct]
    computed, shadow, local = (flat[number] for number in which)
    pack = measure(computed, shadow, local, least_normal(dtype), None, kernels())
    return pack if is_float(np.dtype(dtype)) else count_differing(pack, computed, shadow)


@jax.jit  # type: ignore[untyped-decorator]
def _measured_together(lanes: list[Array], least: Array, numbers: Array, sizes: Array) -> Pack:
    computed, shadow, local = lanes
    segments = Segments(numbers, sizes, len(sizes))
    return measure(computed, shadow, local, least, segments, kernels())


def _each(change: Callable[[Array], Array], lanes: Lanes) -> Lanes:
    """Lanes that are one array stay one array."""
    changed = {id(lane): change(lane) for lane in lanes}
    computed, shadow, local = (changed[id(lane)] for lane in lanes)
    return computed, shadow, local


def _in_rows(array: Array) -> Array:
    """The array in whole rows, the last one filled up with zeros."""
    flat = jnp.ravel(lax.convert_element_type(array, jnp.float32))
    return jnp.pad(flat, (0, -flat.size % ROW)).reshape(-1, ROW)
