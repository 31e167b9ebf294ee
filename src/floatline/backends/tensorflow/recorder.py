"""Collects what is to be measured while a traced step is built, and pools it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.framework import ops as tf_ops

from floatline.backends.tensorflow.lanes import Tensor, raised
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


class Kind(NamedTuple):
    """What tensors must have in common to be pooled: dtype, and which lanes are one tensor."""

    dtype: str
    shadow_is_computed: bool
    local_is_computed: bool
    local_is_shadow: bool

    @property
    def distinct_lanes(self) -> tuple[int, ...]:
        """Positions of the lanes that are tensors of their own: computed, shadow, local."""
        shadow = () if self.shadow_is_computed else (1,)
        local = () if self.local_is_computed or self.local_is_shadow else (2,)
        return (0, *shadow, *local)

    def all_lanes(self, distinct: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Computed, shadow and local from the distinct lanes."""
        by_position = dict(zip(self.distinct_lanes, distinct, strict=True))
        computed = by_position[0]
        shadow = by_position.get(1, computed)
        local = shadow if self.local_is_shadow else computed
        return computed, shadow, by_position.get(2, local)


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
        self._pools: dict[Kind, list[_Pending]] = {}
        self._elements: dict[Kind, int] = {}
        self._packs: list[tuple[list[int], Pack]] = []
        self.barrier: list[Tensor] = []
        """What the next operations of the step must wait for: without it the step would run ahead
        and keep everything that is still to be measured in memory."""

    def measure(
        self, description: Description, computed: Tensor, shadow: Tensor, local: Tensor
    ) -> int:
        """Enters a site and has its tensors measured; returns the site's index."""
        site = self.ledger.add(description)
        kind = Kind(description.dtype, shadow is computed, local is computed, local is shadow)
        pending = _Pending(site, (computed, shadow, local))
        size = _estimated_size(computed.shape)
        if size >= ALONE_ELEMENTS:
            self._append([pending], kind)
            return site
        self._pools.setdefault(kind, []).append(pending)
        self._elements[kind] = self._elements.get(kind, 0) + size
        if self._elements[kind] >= POOL_ELEMENTS:
            self._flush(kind)
        return site

    def nested(self) -> Recorder:
        """A recorder of the same kind for a nested graph."""
        return Recorder(self.ledger)

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

    def _flush(self, kind: Kind) -> None:
        pending = self._pools.pop(kind)
        self._elements.pop(kind)
        self._append(pending, kind)

    def _append(self, pending: Sequence[_Pending], kind: Kind) -> None:
        # Waiting for the last but one leaves something to run beside the measurement.
        self.barrier = [pack.sums for _, pack in self._packs[-1:]]
        self._packs.append(([p.site for p in pending], _pool(kind, pending)))


class Census(Recorder):
    """Counts sites and measures nothing: for graphs that are built to be thrown away."""

    def measure(
        self, description: Description, computed: Tensor, shadow: Tensor, local: Tensor
    ) -> int:
        """Enters a site."""
        del computed, shadow, local
        return self.ledger.add(description)

    def nested(self) -> Recorder:
        """A census of a nested graph."""
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


def _estimated_size(shape: tf.TensorShape) -> int:
    if shape.rank is None:
        return ALONE_ELEMENTS
    return math.prod(ASSUMED_DIMENSION if size is None else size for size in shape.as_list())


def _pool(kind: Kind, pending: Sequence[_Pending]) -> Pack:
    if len(pending) == 1:
        rows = _measuring_one(kind)(*(pending[0].lanes[lane] for lane in kind.distinct_lanes))
    else:
        lanes = [_joined([p.lanes[lane] for p in pending]) for lane in kind.distinct_lanes]
        rows = _measuring(kind)(*lanes, tf.stack([_size(p.lanes[0]) for p in pending]))
    for part in rows:
        part.set_shape([len(pending), part.shape[1]])
    return Pack(*rows)


# A pool's statistics are a hundred operations. Built once as a function and called, they cost a
# traced step one operation each time; these two remember functions only, never data.


@cache
def _measuring(kind: Kind) -> Any:
    """The compiled measurement of a pool of tensors: `(*distinct lanes, sizes)` to a pack."""

    def measure_pool(*lanes_and_sizes: Tensor) -> Pack:
        *lanes, sizes = lanes_and_sizes
        count = tf.size(sizes)
        segments = Segments(tf.repeat(tf.range(count), sizes), sizes, count)
        return measure(*kind.all_lanes(lanes), kind.dtype, segments, KERNELS)

    vector = tf.TensorSpec([None], tf.float32)
    return _not_inlined(
        measure_pool, [vector] * len(kind.distinct_lanes) + [tf.TensorSpec([None], tf.int32)]
    )


@cache
def _measuring_one(kind: Kind) -> Any:
    """The compiled measurement of one tensor of any shape."""

    def measure_tensor(*lanes: Tensor) -> Pack:
        flat = [tf.reshape(tf.cast(lane, tf.float32), [-1]) for lane in lanes]
        return measure(*kind.all_lanes(flat), kind.dtype, None, KERNELS)

    computed = tf.as_dtype(kind.dtype)
    dtypes = [computed if lane == 0 else raised(computed) for lane in kind.distinct_lanes]
    return _not_inlined(measure_tensor, [tf.TensorSpec(None, dtype) for dtype in dtypes])


def _not_inlined(function: Callable[..., Pack], signature: Sequence[tf.TensorSpec]) -> Any:
    """Kept as a function when it runs, too: TensorFlow would optimise every copy by itself."""
    return tf.function(
        function,
        input_signature=signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    ).get_concrete_function()


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    whole = tf.constant([-1])
    return tf.concat([_flat(tensor, whole) for tensor in tensors], axis=0)


def _flat(tensor: Tensor, whole: Tensor) -> Tensor:
    """`tf.reshape(tf.cast(tensor, tf.float32), [-1])` without TensorFlow's detours in Python.

    A step needs it three times for each of its operations.
    """
    graph = tf_ops.get_default_graph()
    if tensor.dtype != tf.float32:
        attrs = {"SrcT": _type(tensor.dtype), "DstT": _type(tf.float32), "Truncate": _FALSE}
        tensor = graph._create_op_internal("Cast", [tensor], attrs=attrs).outputs[0]  # noqa: SLF001
    attrs = {"T": _type(tf.float32), "Tshape": _type(tf.int32)}
    return graph._create_op_internal("Reshape", [tensor, whole], attrs=attrs).outputs[0]  # noqa: SLF001


_FALSE = attr_value_pb2.AttrValue(b=False)


def _type(dtype: tf.DType) -> attr_value_pb2.AttrValue:
    return attr_value_pb2.AttrValue(type=dtype.as_datatype_enum)


def _size(tensor: Tensor) -> Tensor | int:
    known = tensor.shape.num_elements()
    return tf.size(tensor) if known is None else known


def _bits(tensor: Tensor) -> Tensor:
    return tf.bitcast(tensor, tf.int32)


def _segment_sum(values: Tensor, numbers: Tensor, count: int | Tensor) -> Tensor:
    return _by_segment(tf.math.segment_sum, values, numbers, count)


def _segment_max(values: Tensor, numbers: Tensor, count: int | Tensor) -> Tensor:
    return _by_segment(tf.math.segment_max, values, numbers, count)


def _by_segment(
    reduce: Callable[[Tensor, Tensor], Tensor],
    values: Tensor,
    numbers: Tensor,
    count: int | Tensor,
) -> Tensor:
    """TensorFlow's sorted reduction is the fast one, but forgets empty segments at the end."""
    found = reduce(values, numbers)
    return tf.pad(found, [[0, count - tf.shape(found)[0]]])


def _select(mask: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
    positions = tf.where(mask)[:, 0]
    return [tf.gather(vector, positions) for vector in vectors]


def _histogram(values: Tensor, length: int | Tensor) -> Tensor:
    unweighted = tf.zeros([0], tf.int32)
    return tf.raw_ops.DenseBincount(input=values, size=length, weights=unweighted)


KERNELS = Kernels(_bits, _segment_sum, _segment_max, _histogram, _select)
