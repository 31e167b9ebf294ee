"""Collects what is to be measured while a traced step is built, and pools it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from floatline.backends.tensorflow.lanes import Tensor
from floatline.records import NotTraced
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Kernels, Pack, Segments, concatenate, measure

POOL_ELEMENTS = 1 << 18
"""Elements measured together: large enough to share the fixed cost, small enough (1 MiB a lane)
not to keep many tensors of the step alive for long."""

ALONE_ELEMENTS = 1 << 16
"""From this size on, a tensor is measured by itself: its own cost outweighs the fixed one."""

ASSUMED_DIMENSION = 32
"""Stands in for an unknown dimension, usually the batch, when sizes are estimated."""


class _Kind(NamedTuple):
    """What tensors must have in common to be pooled: dtype, and which lanes are one tensor."""

    dtype: str
    shadow_is_computed: bool
    local_is_computed: bool
    local_is_shadow: bool


class _Pending(NamedTuple):
    site: int
    lanes: tuple[Tensor, Tensor, Tensor]
    """Computed, shadow, local."""


class Recorder:
    """Measures sites of one graph under construction.

    Args:
        ledger: Where sites are entered; shared by the recorders of all nested graphs.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._pools: dict[_Kind, list[_Pending]] = {}
        self._elements: dict[_Kind, int] = {}
        self._packs: list[tuple[list[int], Pack]] = []

    def measure(
        self, description: Description, computed: Tensor, shadow: Tensor, local: Tensor
    ) -> int:
        """Enters a site and has its tensors measured; returns the site's index."""
        site = self.ledger.add(description)
        kind = _Kind(description.dtype, shadow is computed, local is computed, local is shadow)
        pending = _Pending(site, (computed, shadow, local))
        size = _estimated_size(computed.shape)
        if size >= ALONE_ELEMENTS:
            self._packs.append(([site], _pool(kind, [pending])))
            return site
        self._pools.setdefault(kind, []).append(pending)
        self._elements[kind] = self._elements.get(kind, 0) + size
        if self._elements[kind] >= POOL_ELEMENTS:
            self._flush(kind)
        return site

    def absorb(self, sites: Sequence[int], pack: Pack) -> None:
        """Takes over the measurements of a nested graph."""
        self._packs.append((list(sites), pack))

    def finish(self) -> tuple[list[int], Pack | None]:
        """All measured sites and their statistics, row by row; None when there are none."""
        for kind in list(self._pools):
            self._flush(kind)
        if not self._packs:
            return [], None
        sites = [site for indices, _ in self._packs for site in indices]
        return sites, concatenate([pack for _, pack in self._packs])

    def _flush(self, kind: _Kind) -> None:
        pending = self._pools.pop(kind)
        self._elements.pop(kind)
        self._packs.append(([p.site for p in pending], _pool(kind, pending)))


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


def _estimated_size(shape: tf.TensorShape) -> int:
    if shape.rank is None:
        return ALONE_ELEMENTS
    return math.prod(ASSUMED_DIMENSION if size is None else size for size in shape.as_list())


def _pool(kind: _Kind, pending: Sequence[_Pending]) -> Pack:
    computed = _joined([p.lanes[0] for p in pending])
    shadow = computed if kind.shadow_is_computed else _joined([p.lanes[1] for p in pending])
    if kind.local_is_computed or kind.local_is_shadow:
        local = computed if kind.local_is_computed else shadow
    else:
        local = _joined([p.lanes[2] for p in pending])
    segments = _segments(pending) if len(pending) > 1 else None
    return measure(computed, shadow, local, kind.dtype, segments, KERNELS)


def _segments(pending: Sequence[_Pending]) -> Segments:
    sizes = tf.stack([_size(p.lanes[0]) for p in pending])
    return Segments(tf.repeat(tf.range(len(pending)), sizes), len(pending))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    flat = [tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors]
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=0)


def _size(tensor: Tensor) -> Tensor:
    known = tensor.shape.num_elements()
    return tf.size(tensor) if known is None else tf.constant(known)


def _bits(tensor: Tensor) -> Tensor:
    return tf.bitcast(tensor, tf.int32)


def _segment_sum(values: Tensor, numbers: Tensor, count: int) -> Tensor:
    return _by_segment(tf.math.segment_sum, values, numbers, count)


def _segment_max(values: Tensor, numbers: Tensor, count: int) -> Tensor:
    return _by_segment(tf.math.segment_max, values, numbers, count)


def _by_segment(
    reduce: Callable[[Tensor, Tensor], Tensor], values: Tensor, numbers: Tensor, count: int
) -> Tensor:
    """TensorFlow's sorted reduction is the fast one, but forgets empty segments at the end."""
    found = reduce(values, numbers)
    return tf.pad(found, [[0, count - tf.shape(found)[0]]])


KERNELS = Kernels(_bits, _segment_sum, _segment_max)
