"""Measures values in pools, with operations that every device has.

Small tensors are copied side by side into vectors and measured together; a large one is measured
by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import torch

from floatline.backends.torch.lanes import Tensor
from floatline.formats import FORMATS
from floatline.tracing.sharing import Sharing
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


class Pool:
    """Float32 vectors that small tensors are copied into, one vector per distinct lane.

    The copies are also what keeps a value as it was: the step may write to its tensors again.
    """

    def __init__(self, sharing: Sharing, lanes: int, device: torch.device) -> None:
        self._sharing, self._device = sharing, device
        self._lanes = [torch.zeros(POOL_ELEMENTS, device=device) for _ in range(lanes)]
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
        device, count = self._device, len(self._sites)
        sizes = torch.tensor(self._sizes, dtype=torch.int32, device=device)
        numbers = torch.repeat_interleave(
            torch.arange(count, dtype=torch.int32, device=device),
            (sizes + ROW - 1) // ROW,
            output_size=self._filled // ROW,
        )
        rows = [vector[: self._filled].view(-1, ROW) for vector in self._lanes]
        segments, least = Segments(numbers, sizes, count), torch.tensor(self._least, device=device)
        with _home(device):
            pack = measure(*self._sharing.all_lanes(rows), least, segments, KERNELS)
        sites = self._sites
        self._sites, self._sizes, self._least, self._filled = [], [], [], 0
        for vector in self._lanes:
            vector.zero_()
        return sites, pack

    def __bool__(self) -> bool:
        return bool(self._sites)


class Pools:
    """The pools of one device, and what was measured so far.

    Args:
        device: Where the tensors are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pools: dict[Sharing, Pool] = {}
        self._packs: list[tuple[list[int], Pack]] = []

    def put(self, site: int, lanes: tuple[Tensor, Tensor, Tensor], dtype: str) -> None:
        """Measures a value with elements: computed, shadow and local lane."""
        computed, sharing = lanes[0], Sharing.of(*lanes)
        distinct = [lanes[position].resolve_neg() for position in sharing.distinct]
        if computed.numel() >= ALONE_ELEMENTS or not computed.is_floating_point():
            self._packs.append(([site], self._alone(sharing, distinct, dtype)))
        else:
            self._pool(sharing, len(distinct), computed.numel()).put(
                site, distinct, least_normal(dtype)
            )

    def measured(self) -> tuple[list[int], Pack]:
        """The sites that were put in, and their measurements on the host."""
        self._packs += [pool.emptied() for pool in self._pools.values() if pool]
        pack = concatenate([pack for _, pack in self._packs])
        sites = [site for sites, _ in self._packs for site in sites]
        return sites, Pack(*(part.cpu().numpy() for part in pack))

    def _alone(self, sharing: Sharing, distinct: Sequence[Tensor], dtype: str) -> Pack:
        flat = [lane.reshape(-1).to(torch.float32) for lane in distinct]
        computed, shadow, local = sharing.all_lanes(flat)
        with _home(self._device):
            pack = measure(computed, shadow, local, least_normal(dtype), None, KERNELS)
            return pack if dtype in FORMATS else count_differing(pack, computed, shadow)

    def _pool(self, sharing: Sharing, lanes: int, size: int) -> Pool:
        pool = self._pools.get(sharing)
        if pool is None:
            pool = self._pools[sharing] = Pool(sharing, lanes, self._device)
        if not pool.fits(size):
            self._packs.append(pool.emptied())
        return pool


@contextmanager
def _home(device: torch.device) -> Iterator[None]:
    """Where new tensors are made meanwhile: a step on a GPU has tensors on the host, too.

    Keras makes some on its own device and some, in reductions, on PyTorch's.
    """
    # The tracer turns modes off, and a device that is entered is one.
    enabled = torch._C._EnableTorchFunction()  # noqa: SLF001 (PyTorch has no public name for it)
    with enabled, keras.device(f"{device.type}:{device.index or 0}"), device:
        yield


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
