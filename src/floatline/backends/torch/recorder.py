"""Collects what is measured while a traced step runs, in pools, and decodes it once at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from floatline.backends.torch.lanes import Tensor
from floatline.formats import FORMATS
from floatline.records import NotTraced, Statistics
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Kernels, Pack, Segments, concatenate, decode, measure

POOL_ELEMENTS = 1 << 18
"""Elements measured together: enough to share the fixed cost of a hundred small operations."""

ALONE_ELEMENTS = 1 << 16
"""From this size on, a tensor is measured by itself: its own cost outweighs the fixed one."""


class Kind(NamedTuple):
    """What tensors must have in common to be pooled: dtype, device, which lanes are one tensor."""

    dtype: str
    device: torch.device
    shadow_is_computed: bool
    local_is_computed: bool
    local_is_shadow: bool


class Pool:
    """Float32 vectors that small tensors are copied into, one vector per distinct lane.

    The copies are also what keeps a value as it was: the step may write to its tensors again.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.sites: list[int] = []
        self.sizes: list[int] = []
        self.filled = 0
        self._lanes = [self._vector() for _ in range(self._distinct(kind))]

    def fits(self, size: int) -> bool:
        """Whether there is room for a tensor of that size."""
        return self.filled + size <= POOL_ELEMENTS

    def put(self, site: int, lanes: Sequence[Tensor]) -> None:
        """Copies the distinct lanes of a value into the pool."""
        size = lanes[0].numel()
        for vector, lane in zip(self._lanes, lanes, strict=True):
            vector.narrow(0, self.filled, size).view(lane.shape).copy_(lane)
        self.sites.append(site)
        self.sizes.append(size)
        self.filled += size

    def emptied(self) -> tuple[list[int], Pack]:
        """The sites in the pool and their measurements; the pool is empty afterwards."""
        sizes = torch.tensor(self.sizes, dtype=torch.int32, device=self.kind.device)
        count = len(self.sizes)
        numbers = torch.repeat_interleave(
            torch.arange(count, dtype=torch.int32, device=self.kind.device),
            sizes,
            output_size=self.filled,
        )
        lanes = _all_lanes(self.kind, [vector[: self.filled] for vector in self._lanes])
        pack = measure(*lanes, self.kind.dtype, Segments(numbers, sizes, count), kernels(numbers))
        sites, self.sites, self.sizes, self.filled = self.sites, [], [], 0
        return sites, pack

    def _vector(self) -> Tensor:
        return torch.empty(POOL_ELEMENTS, dtype=torch.float32, device=self.kind.device)

    @staticmethod
    def _distinct(kind: Kind) -> int:
        return (
            1
            + (not kind.shadow_is_computed)
            + (not (kind.local_is_computed or kind.local_is_shadow))
        )


class Recorder:
    """Enters sites into a ledger and measures them.

    Args:
        ledger: Where sites are entered.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._pools: dict[Kind, Pool] = {}
        self._packs: list[tuple[list[int], Pack]] = []
        self._known: dict[int, Statistics] = {}

    def measure(
        self, description: Description, computed: Tensor, shadow: Tensor, local: Tensor
    ) -> int:
        """Enters a site and measures its tensors; returns the site's index."""
        site = self.ledger.add(description)
        kind = Kind(
            description.dtype,
            computed.device,
            shadow is computed,
            local is computed,
            local is shadow,
        )
        lanes = [_dense(lane) for lane in _distinct_lanes(kind, computed, shadow, local)]
        size = lanes[0].numel()
        if size == 0:
            self._known[site] = Statistics(0)
        elif size >= ALONE_ELEMENTS:
            self._measure_alone(site, kind, lanes)
        else:
            self._pool(kind, size).put(site, lanes)
        return site

    def enter(self, description: Description, statistics: Statistics) -> int:
        """Enters a site whose measurements are known without looking."""
        site = self.ledger.add(description)
        self._known[site] = statistics
        return site

    def statistics(self) -> list[Statistics]:
        """The measurements of every site, in order; everything is fetched here, at once."""
        self._packs += [pool.emptied() for pool in self._pools.values() if pool.sites]
        measured = dict(self._known)
        by_device: dict[torch.device, list[tuple[list[int], Pack]]] = {}
        for sites, pack in self._packs:
            by_device.setdefault(pack.counts.device, []).append((sites, pack))
        for entries in by_device.values():
            pack = concatenate([pack for _, pack in entries])
            rows = decode(Pack(*(part.cpu().numpy() for part in pack)))
            measured.update(zip((s for sites, _ in entries for s in sites), rows, strict=True))
        return [measured[site] for site in range(len(self.ledger))]

    def _pool(self, kind: Kind, size: int) -> Pool:
        pool = self._pools.get(kind)
        if pool is None:
            pool = self._pools[kind] = Pool(kind)
        if not pool.fits(size):
            self._packs.append(pool.emptied())
        return pool

    def _measure_alone(self, site: int, kind: Kind, lanes: Sequence[Tensor]) -> None:
        flat = [lane.reshape(-1).to(torch.float32) for lane in lanes]
        pack = measure(*_all_lanes(kind, flat), kind.dtype, None, kernels(flat[0]))
        self._packs.append(([site], pack))


class Omissions:
    """Counts operations that could not be shadowed, by name and reason, and those that move."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self.moved = 0

    def add(self, operation: str, reason: str) -> None:
        """Counts one operation."""
        key = (operation, reason)
        self._counts[key] = self._counts.get(key, 0) + 1

    def listed(self) -> tuple[NotTraced, ...]:
        """What was counted, in order of first appearance."""
        return tuple(NotTraced(op, n, reason) for (op, reason), n in self._counts.items())


def of_literal(value: float, dtype: str, *, rounded: bool) -> Statistics:
    """The measurements of a literal, which need no tensor: alone, or rounded to `dtype`.

    Example:

    >>> of_literal(1e-9, "float16", rounded=True).flushed
    1
    """
    computed = value
    if rounded:
        computed = float(torch.tensor(value, dtype=torch.float64).to(getattr(torch, dtype)))
    magnitude, seen = abs(value), abs(computed)
    finite, flushed = math.isfinite(magnitude), seen == 0.0 < magnitude
    saturated = finite and math.isinf(seen)
    known = finite and magnitude > 0
    off = 1.0 if saturated else abs(computed - value) / magnitude if known else 0.0
    return Statistics(
        count=1,
        zero=int(seen == 0),
        subnormal=int(0 < seen < FORMATS[dtype].min_normal),
        inf=int(math.isinf(seen)),
        nan=int(math.isnan(seen)),
        shadow_zero=int(magnitude == 0),
        shadow_inf=int(math.isinf(magnitude)),
        shadow_nan=int(math.isnan(magnitude)),
        saturated=int(saturated),
        flushed=int(flushed),
        local_saturated=int(saturated),
        local_flushed=int(flushed),
        local_nonfinite=int(not finite),
        max_abs=magnitude if finite else 0.0,
        min_abs_nonzero=magnitude if known else 0.0,
        computed_max_abs=seen if math.isfinite(seen) else 0.0,
        local_error=off,
        error=off,
        exponents={math.frexp(magnitude)[1] - 1: 1} if known else {},
    )


def kernels(like: Tensor) -> Kernels:
    """The operations of a measurement, for values on the device of `like`."""
    on_host = like.device.type == "cpu"
    return Kernels(
        bits=_bits,
        segment_sum=_segment_sum,
        segment_max=_segment_max,
        histogram=_bincount if on_host else _scattered_counts,
        select=_select if on_host else _everything,
    )


def _bits(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.int32)


def _segment_sum(values: Tensor, numbers: Tensor, count: int) -> Tensor:
    out = torch.zeros(count, dtype=values.dtype, device=values.device)
    return out.scatter_add_(0, numbers.long(), values)


def _segment_max(values: Tensor, numbers: Tensor, count: int) -> Tensor:
    out = torch.full((count,), -math.inf, dtype=values.dtype, device=values.device)
    return out.scatter_reduce_(0, numbers.long(), values, "amax")


def _bincount(values: Tensor, length: int) -> Tensor:
    return torch.bincount(values, minlength=length)[:length].to(torch.int32)


def _scattered_counts(values: Tensor, length: int) -> Tensor:
    """How often each number occurs, without the host being asked how large they are."""
    counts = torch.zeros(length, dtype=torch.int32, device=values.device)
    return counts.scatter_add_(0, values.long(), torch.ones_like(values, dtype=torch.int32))


def _select(mask: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
    positions = mask.nonzero(as_tuple=True)[0]
    return [vector[positions] for vector in vectors]


def _everything(mask: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
    """Selects all: how many hold would have to be asked of the device, which waits for it.

    `measure` classifies what it is given, and an ordinary element falls into its ordinary class.
    """
    del mask
    return list(vectors)


def _dense(tensor: Tensor) -> Tensor:
    """The values of a tensor; the explicit ones of a sparse tensor."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.to_dense()


def _distinct_lanes(kind: Kind, computed: Tensor, shadow: Tensor, local: Tensor) -> list[Tensor]:
    lanes = [computed]
    if not kind.shadow_is_computed:
        lanes.append(shadow)
    if not (kind.local_is_computed or kind.local_is_shadow):
        lanes.append(local)
    return lanes


def _all_lanes(kind: Kind, distinct: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    computed = distinct[0]
    shadow = computed if kind.shadow_is_computed else distinct[1]
    if kind.local_is_computed:
        return computed, shadow, computed
    return computed, shadow, shadow if kind.local_is_shadow else distinct[-1]
