"""Collects what is to be measured while a traced step is built, and pools it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.framework import ops as tf_ops

from floatline.backends.tensorflow import fused
from floatline.backends.tensorflow.lanes import Tensor, raised
from floatline.tracing.sharing import Sharing
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

LANES = 3
"""Computed, shadow, local."""

POOL_ELEMENTS = 1 << 18
"""Elements measured together: large enough to share the fixed cost, small enough (1 MiB a lane)
not to keep many tensors of the step alive for long."""

ALONE_ELEMENTS = 1 << 14
"""From this size on, a tensor is measured by itself: its own cost outweighs the fixed one."""

ASSUMED_DIMENSION = 32
"""Stands in for an unknown dimension, usually the batch, when sizes are estimated."""


class Pending(NamedTuple):
    """A site that waits in a pool, with its lanes: computed, shadow, local."""

    site: int
    description: Description
    lanes: tuple[Tensor, Tensor, Tensor]

    @property
    def elements(self) -> int | None:
        """How many there are; None while that is unknown."""
        shape = self.description.shape
        return None if shape is None or None in shape else math.prod(s or 0 for s in shape)


class Recorder:
    """Measures sites of one graph under construction.

    Args:
        ledger: Where sites are entered; shared by the recorders of all nested graphs.
        pool_elements: Elements of small tensors that are measured together.
    """

    def __init__(self, ledger: Ledger, pool_elements: int = POOL_ELEMENTS) -> None:
        self.ledger = ledger
        self._limit = pool_elements
        self._pool: list[Pending] = []
        self._elements = 0
        self._packs: list[tuple[list[int], Pack]] = []
        self.barrier: list[Tensor] = []
        """What the next operations of the step must wait for: without it the step would run ahead
        and keep everything that is still to be measured in memory."""

    def measure(
        self, description: Description, computed: Tensor, shadow: Tensor, local: Tensor
    ) -> int:
        """Enters a site and has its tensors measured; returns the site's index."""
        site = self.ledger.add(description)
        dtype = tf.as_dtype(description.dtype)
        size = _estimated_size(description.shape)
        if size >= ALONE_ELEMENTS or dtype.is_integer:
            lanes = (computed, shadow, local)
            self._append([site], lambda: _measured_alone(dtype.name, lanes))
            return site
        self._pool.append(Pending(site, description, (computed, shadow, local)))
        self._elements += size
        if self._elements >= self._limit:
            self._flush()
        return site

    def nested(self, pool_elements: int = POOL_ELEMENTS) -> Recorder:
        """A recorder of the same kind for a nested graph."""
        return Recorder(self.ledger, pool_elements)

    def absorb(self, sites: Sequence[int], pack: Pack) -> None:
        """Takes over the measurements of a nested graph."""
        self._packs.append((list(sites), pack))

    def defer(self) -> list[Pending]:
        """Gives away the tensors of known size that still wait to be measured."""
        given = [pending for pending in self._pool if pending.elements is not None]
        self._pool = [pending for pending in self._pool if pending.elements is None]
        return given

    def measure_repeated(
        self, pool: Sequence[Pending], lanes: Sequence[Tensor], repeats: Tensor
    ) -> None:
        """Measures what was deferred in a loop: `joined` lanes of all iterations, end to end."""
        sites = [pending.site for pending in pool]
        self._append(sites, lambda: _measured_together(pool, lanes, repeats))

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
        sites = [pending.site for pending in pool]
        self._append(sites, lambda: _measured_together(pool, joined(pool)))

    def _append(self, sites: Sequence[int], measure_them: Callable[[], Pack]) -> None:
        # Waiting for the last but one leaves something to run beside the measurement.
        self.barrier = [pack.sums for _, pack in self._packs[-1:]]
        self._packs.append((list(sites), measure_them()))


class Census(Recorder):
    """Counts sites and measures nothing: for graphs that are built to be thrown away."""

    def nested(self, pool_elements: int = POOL_ELEMENTS) -> Recorder:
        """A census of a nested graph."""
        return Census(self.ledger, pool_elements)

    def _append(self, sites: Sequence[int], measure_them: Callable[[], Pack]) -> None:
        del sites, measure_them


IN_PLACE = "works on a variable or table in place"
"""Why an operation is not traced that has to be run on the user's own variables."""


def _estimated_size(shape: Sequence[int | None] | None) -> int:
    if shape is None:
        return ALONE_ELEMENTS
    return math.prod(ASSUMED_DIMENSION if size is None else size for size in shape)


def _measured_alone(dtype: str, lanes: tuple[Tensor, Tensor, Tensor]) -> Pack:
    sharing = Sharing.of(*lanes)
    distinct = [lanes[lane] for lane in sharing.distinct]
    if fused.on_gpu() and tf.as_dtype(dtype).is_floating:
        flat = [tf.reshape(lane, [-1]) for lane in distinct]
        return _with_rows(1, fused.measuring_one(dtype, sharing)(*flat))
    return _with_rows(1, _measuring_one(dtype, sharing)(*distinct))


def _measured_together(
    pool: Sequence[Pending], lanes: Sequence[Tensor], repeats: Tensor | int = 1
) -> Pack:
    sizes = tf.stack([_size(pending.lanes[0]) for pending in pool])
    least = tf.constant([least_normal(pending.description.dtype) for pending in pool])
    return _with_rows(len(pool), _measuring_pool()(*lanes, sizes, least, repeats))


def _with_rows(count: int, parts: Sequence[Tensor]) -> Pack:
    for part in parts:
        part.set_shape([count, part.shape[1]])
    return Pack(*parts)


# The statistics of a pool are a hundred operations. Built once as a function and called, they cost
# a traced step one operation each time; these two remember functions only, never data.


@cache
def _measuring_pool() -> Any:
    """The compiled measurement of a pool: lanes, sizes, least normal numbers, repeats."""

    def measure_pool(
        computed: Tensor,
        shadow: Tensor,
        local: Tensor,
        sizes: Tensor,
        least: Tensor,
        repeats: Tensor,
    ) -> Pack:
        count = tf.size(sizes)
        numbers = tf.tile(tf.repeat(tf.range(count), (sizes + ROW - 1) // ROW), [repeats])
        segments = Segments(numbers, sizes * repeats, count)
        lanes = [tf.reshape(lane, [-1, ROW]) for lane in (computed, shadow, local)]
        return measure(lanes[0], lanes[1], lanes[2], least, segments, KERNELS)

    vectors = [tf.TensorSpec([None], tf.float32)] * LANES
    per_segment = [tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.float32)]
    return _not_inlined(measure_pool, [*vectors, *per_segment, tf.TensorSpec([], tf.int32)])


@cache
def _measuring_one(name: str, sharing: Sharing) -> Any:
    """The compiled measurement of one tensor of any shape."""
    dtype = tf.as_dtype(name)

    def measure_tensor(*distinct: Tensor) -> Pack:
        flat = [tf.reshape(tf.cast(lane, tf.float32), [-1]) for lane in distinct]
        lanes = sharing.all_lanes(flat)
        pack = measure(*lanes, least_normal(name), None, KERNELS)
        return count_differing(pack, lanes[0], lanes[1]) if dtype.is_integer else pack

    dtypes = [dtype if lane == 0 else raised(dtype) for lane in sharing.distinct]
    return _not_inlined(measure_tensor, [tf.TensorSpec(None, dtype) for dtype in dtypes])


def _not_inlined(function: Callable[..., Pack], signature: Sequence[tf.TensorSpec]) -> Any:
    """Kept as a function when it runs, too: TensorFlow would optimise every copy by itself."""
    return tf.function(
        function,
        input_signature=signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    ).get_concrete_function()


def in_rows(elements: int) -> int:
    """Elements of a tensor that is filled up to whole rows."""
    return -(-elements // ROW) * ROW


def joined(pool: Sequence[Pending]) -> list[Tensor]:
    """Every lane of the tensors of a pool, one after the other, in whole rows."""
    return [_joined([pending.lanes[lane] for pending in pool]) for lane in range(LANES)]


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one after the other, each filled up with zeros to whole rows."""
    whole = tf.constant([-1])
    zeros: dict[int, Tensor] = {}
    parts = []
    for tensor in tensors:
        parts.append(_flat(tensor, whole))
        size = _size(tensor)
        missing = -size % ROW
        if not isinstance(missing, int):
            parts.append(tf.zeros([missing]))
        elif missing:
            parts.append(zeros.setdefault(missing, tf.zeros([missing])))
    return tf.concat(parts, axis=0)


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


def _select(mask: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
    positions = tf.where(mask)
    return [tf.gather_nd(vector, positions) for vector in vectors]


def _histogram(values: Tensor, length: int | Tensor) -> Tensor:
    unweighted = tf.zeros([0], tf.int32)
    return tf.raw_ops.DenseBincount(input=values, size=length, weights=unweighted)


KERNELS = Kernels(
    bits=_bits,
    segment_sum=tf.math.unsorted_segment_sum,
    segment_max=tf.math.unsorted_segment_max,
    histogram=_histogram,
    select=_select,
)
