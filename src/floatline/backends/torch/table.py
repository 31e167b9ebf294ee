"""Measures values on a GPU without waiting for it: a row of a table each, fetched at the end."""

from __future__ import annotations

import numpy as np
import torch

from floatline.backends.torch import counting
from floatline.backends.torch.lanes import Tensor
from floatline.tracing.statistics import EXTRAS, FIELDS, NOTHING, SUMS, Pack, least_normal
from floatline.tracing.tallies import CODES, MEMBERS

CHUNK = 1024
"""Rows that are made at once."""


class Table:
    """What was measured on one GPU.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._counter = counting.Counter()
        self._chunks: list[Tensor] = []
        self._sites: list[int] = []
        self._sizes: list[int] = []

    def put(self, site: int, lanes: tuple[Tensor, Tensor, Tensor], dtype: str) -> None:
        """Measures a value with elements: computed, shadow and local lane."""
        row = len(self._sites) % CHUNK
        if row == 0:
            shape = (CHUNK, counting.WIDTH)
            self._chunks.append(torch.zeros(shape, dtype=torch.int32, device=self._device))
            self._sums = self._chunks[-1].view(torch.float64)
        with torch.cuda.device_of(lanes[0]):
            self._counter.count(
                self._chunks[-1], self._sums, row, _alike(lanes), least_normal(dtype)
            )
        self._sites.append(site)
        self._sizes.append(lanes[0].numel())

    def measured(self) -> tuple[list[int], Pack]:
        """The sites that were put in, and their measurements on the host."""
        rows = torch.cat(self._chunks)[: len(self._sites)].cpu().numpy()
        return self._sites, _pack(rows, np.array(self._sizes))


def _alike(lanes: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The lanes with their elements in one order, without gaps; which order does not matter."""
    computed, shadow, local = lanes
    strides = computed.stride()
    same = shadow.stride() == strides == local.stride()
    if same and (computed.is_contiguous() or _has_no_gaps(computed)):
        return computed.resolve_neg(), shadow.resolve_neg(), local.resolve_neg()
    return tuple(lane.contiguous().resolve_neg() for lane in lanes)


def _has_no_gaps(tensor: Tensor) -> bool:
    """Whether the elements lie side by side, each once, in whatever order.

    Example:

    >>> _has_no_gaps(torch.ones(2, 3).t()), _has_no_gaps(torch.ones(2, 3)[:, :2])
    (True, False)
    """
    following = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != following:
            return False
        following *= size
    return True


def _pack(rows: np.ndarray, sizes: np.ndarray) -> Pack:
    """The rows as `tracing.statistics.measure` would have found them."""
    fields, codes, peaks, sums = np.split(
        rows, [FIELDS, counting.PEAKS.value, counting.SUMS.value], axis=1
    )
    codes = codes[:, :CODES].copy()
    codes[:, 0] = 0  # What is zero in every lane is not special.
    extras = np.stack([sizes, peaks[:, 3]], axis=1).astype("int32")
    assert extras.shape[1] == EXTRAS
    counts = np.concatenate([fields, codes @ MEMBERS.T, extras], axis=1)
    maxima = np.ascontiguousarray(peaks[:, :2]).view("float32")
    lowest = (counting.INFINITY_BITS - peaks[:, 2]).astype("int32").view("float32")
    lowest = np.where(np.isinf(lowest), NOTHING, -lowest)
    with np.errstate(over="ignore"):  # A sum beyond float32 is infinite.
        added = np.ascontiguousarray(sums).view("float64").astype("float32")
    assert added.shape[1] == SUMS
    return Pack(counts, added, np.concatenate([maxima, lowest[:, None]], axis=1))
