"""Collects what is measured while a traced step runs, in pools, and decodes it once at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import keras
import torch

from floatline.backends.torch.lanes import Tensor
from floatline.formats import FORMATS
from floatline.records import Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import (
    NOTHING,
    ROW,
    Kernels,
    Pack,
    Segments,
    concatenate,
    count_differing,
    least_normal,
    measure,
)

POOL_ELEMENTS = 1 << 18
"""Elements measured together: enough to share the fixed cost of a hundred small operations."""

ALONE_ELEMENTS = 1 << 14
"""From this size on, a tensor is measured by itself: its own cost outweighs the fixed one."""


class Kind(NamedTuple):
    """What tensors must have in common to be pooled: device, and which lanes are one tensor."""

    device: torch.device
    shadow_is_computed: bool
    local_is_computed: bool
    local_is_shadow: bool

    def distinct(self, computed: Tensor, shadow: Tensor, local: Tensor) -> list[Tensor]:
        """The lanes that are tensors of their own."""
        lanes = [computed]
        if not self.shadow_is_computed:
            lanes.append(shadow)
        if not (self.local_is_computed or self.local_is_shadow):
            lanes.append(local)
        return lanes

    def all_lanes(self, distinct: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Computed, shadow and local from the distinct lanes."""
        computed = distinct[0]
        shadow = computed if self.shadow_is_computed else distinct[1]
        if self.local_is_computed:
            return computed, shadow, computed
        return computed, shadow, shadow if self.local_is_shadow else distinct[-1]


class Pool:
    """Float32 vectors that small tensors are copied into, one vector per distinct lane.

    The copies are also what keeps a value as it was: the step may write to its tensors again.
    """

    def __init__(self, kind: Kind, lanes: int) -> None:
        self._kind = kind
        self._lanes = [torch.zeros(POOL_ELEMENTS, device=kind.device) for _ in range(lanes)]
        self._sites: list[int] = []
        self._sizes: list[int] = []
        self._least: list[float] = []
        self._filled = 0

    def fits(self, size: int) -> bool:
        """Whether there is room for a tensor of that size."""
        return self._filled + size <= POOL_ELEMENTS

    def put(self, site: int, lanes: Sequence[Tensor], least: float) -> None:
        """Copies the distinct lanes of a value into the pool."""
        size = lanes[0].numel()
        for vector, lane in zip(self._lanes, lanes, strict=True):
            vector.narrow(0, self._filled, size).view(lane.shape).copy_(lane)
        self._sites.append(site)
        self._sizes.append(size)
        self._least.append(least)
        self._filled += -(-size // ROW) * ROW

    def emptied(self) -> tuple[list[int], Pack]:
        """The sites in the pool and their measurements; the pool is empty afterwards."""
        device, count = self._kind.device, len(self._sites)
        sizes = torch.tensor(self._sizes, dtype=torch.int32, device=device)
        numbers = torch.repeat_interleave(
            torch.arange(count, dtype=torch.int32, device=device),
            (sizes + ROW - 1) // ROW,
            output_size=self._filled // ROW,
        )
        rows = [vector[: self._filled].view(-1, ROW) for vector in self._lanes]
        segments, least = Segments(numbers, sizes, count), torch.tensor(self._least, device=device)
        with _home(device):
            pack = measure(*self._kind.all_lanes(rows), least, segments, KERNELS)
        sites = self._sites
        self._sites, self._sizes, self._least, self._filled = [], [], [], 0
        for vector in self._lanes:
            vector.zero_()
        return sites, pack

    def __bool__(self) -> bool:
        return bool(self._sites)


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
        site, dtype = self.ledger.add(description), description.dtype
        kind = Kind(computed.device, shadow is computed, local is computed, local is shadow)
        lanes = [_dense(lane) for lane in kind.distinct(computed, shadow, local)]
        size = lanes[0].numel()
        if size == 0:
            self._known[site] = Statistics(0)
        elif size >= ALONE_ELEMENTS or not lanes[0].is_floating_point():
            self._packs.append(([site], _measured_alone(kind, lanes, dtype)))
        else:
            self._pool(kind, len(lanes), size).put(site, lanes, least_normal(dtype))
        return site

    def enter(self, description: Description, statistics: Statistics) -> int:
        """Enters a site whose measurements are known without looking."""
        site = self.ledger.add(description)
        self._known[site] = statistics
        return site

    def statistics(self) -> list[Statistics]:
        """The measurements of every site, in order; everything is fetched here, at once."""
        self._packs += [pool.emptied() for pool in self._pools.values() if pool]
        measured = dict(self._known)
        by_device: dict[torch.device, list[tuple[list[int], Pack]]] = {}
        for sites, pack in self._packs:
            by_device.setdefault(pack.counts.device, []).append((sites, pack))
        for entries in by_device.values():
            pack = concatenate([pack for _, pack in entries])
            rows = decode(Pack(*(part.cpu().numpy() for part in pack)))
            measured.update(zip((s for sites, _ in entries for s in sites), rows, strict=True))
        return [measured[site] for site in range(len(self.ledger))]

    def _pool(self, kind: Kind, lanes: int, size: int) -> Pool:
        pool = self._pools.get(kind)
        if pool is None:
            pool = self._pools[kind] = Pool(kind, lanes)
        if not pool.fits(size):
            self._packs.append(pool.emptied())
        return pool


@contextmanager
def _home(device: torch.device) -> Iterator[None]:
    """Where new tensors are made meanwhile: a step on a GPU has tensors on the host, too.

    Keras makes some on its own device and some, in reductions, on PyTorch's.
    """
    with keras.device(f"{device.type}:{device.index or 0}"), device:
        yield


def _measured_alone(kind: Kind, distinct: Sequence[Tensor], dtype: str) -> Pack:
    flat = [lane.reshape(-1).to(torch.float32) for lane in distinct]
    computed, shadow, local = kind.all_lanes(flat)
    with _home(kind.device):
        pack = measure(computed, shadow, local, least_normal(dtype), None, KERNELS)
        return pack if dtype in FORMATS else count_differing(pack, computed, shadow)


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


def _bits(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.int32)


def _segment_sum(values: Tensor, numbers: Tensor, count: int) -> Tensor:
    out = torch.zeros(count, dtype=values.dtype, device=values.device)
    return out.scatter_add_(0, numbers.long(), values)


def _segment_max(values: Tensor, numbers: Tensor, count: int) -> Tensor:
    out = torch.full((count,), NOTHING, dtype=values.dtype, device=values.device)
    return out.scatter_reduce_(0, numbers.long(), values, "amax")


def _histogram(values: Tensor, length: int) -> Tensor:
    return torch.bincount(values, minlength=length)[:length].to(torch.int32)


def _select(mask: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
    positions = mask.reshape(-1).nonzero(as_tuple=True)[0]
    return [vector.reshape(-1)[positions] for vector in vectors]


KERNELS = Kernels(_bits, _segment_sum, _segment_max, _histogram, _select)


def _dense(tensor: Tensor) -> Tensor:
    """The values of a tensor; the explicit ones of a sparse tensor."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.to_dense()
