"""Statistics of many operation outputs at once: measured on the device, decoded on the host.

Small outputs of a step are pooled, so that a step with thousands of them costs a few dozen
operations instead of tens of thousands: each is cut into rows, the last one filled up with zeros,
and the rows are reduced first. `measure` is written with `keras.ops` and therefore the same on
every backend; `decoding.py` turns its rows into `records.Statistics`.

Nearly all elements are ordinary: zero in every lane, or finite and normal in every lane. They need
sums, maxima and a place in the histogram, and what the others need is done only where there are
others: sums that step over values that are not finite, and tallies of what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from floatline.formats import FORMATS
from floatline.tracing.tallies import CLASSES, CODES, MEMBERS, NAN, TALLIES

Tensor = Any
"""A tensor of whatever backend is running."""

ROW = 64
"""Elements of a row: a shorter tensor is filled up to a whole one."""

TINY = FORMATS["float32"].min_normal
"""Below it a magnitude counts as zero: devices differ in what they make of float32's subnormals."""

FIELD_SHIFT = 23
FIELDS = 256

EXTRAS = 2
"""Further counts: elements, differing integers."""

COUNTS = FIELDS + len(TALLIES) + EXTRAS
SUMS = 4
NOTHING = -float(np.finfo(np.float32).max)
"""The largest of no numbers: finite, as the frameworks' reductions by segment have it."""

NO_MAXIMA = (0.0, 0.0, NOTHING)


class Kernels(NamedTuple):
    """What a backend does in its own way.

    Attributes:
        bits: Reads the bits of float32 values as int32.
        segment_sum: `(values, segment numbers, segments)` to sums per segment.
        segment_max: Likewise the largest value; any number for a segment without elements.
        histogram: `(non-negative int32 values, length)` to how often each number below length
            occurs.
        select: `(mask, vectors)` to the elements of every vector at which the mask holds.
    """

    bits: Callable[[Tensor], Tensor]
    segment_sum: Callable[[Tensor, Tensor, int | Tensor], Tensor]
    segment_max: Callable[[Tensor, Tensor, int | Tensor], Tensor]
    histogram: Callable[[Tensor, int | Tensor], Tensor]
    select: Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]]


class Segments(NamedTuple):
    """The tensors that were joined into a pool, each in rows of its own.

    Attributes:
        numbers: `(rows,)` int32: the segment of each row.
        sizes: `(segments,)` int32: elements of each segment, without the zeros that fill it up.
        total: How many segments there are.
    """

    numbers: Tensor
    sizes: Tensor
    total: int | Tensor


class Pack(NamedTuple):
    """Measured rows, one per segment; packs of the same segments merge elementwise.

    Attributes:
        counts: int32 `(segments, 271)`: shadow elements per float32 exponent field (field 0 says
            nothing), special elements per tally, then elements and differing integers.
        sums: float32 `(segments, 4)`: sum |computed - shadow|, |shadow|, |computed - local| and
            |local|, each over elements where both are finite.
        maxima: float32 `(segments, 3)`: max |shadow| and max |computed| of finite values, and
            max -|shadow| of nonzero ones; `NO_MAXIMA` where there are none.
    """

    counts: Tensor
    sums: Tensor
    maxima: Tensor


def empty(segments: int) -> Pack:
    """The pack of `segments` segments without elements: the neutral element of `merge`."""
    return Pack(
        ops.zeros((segments, COUNTS), "int32"),
        ops.zeros((segments, SUMS), "float32"),
        ops.tile(ops.convert_to_tensor([NO_MAXIMA], "float32"), (segments, 1)),
    )


def merge(first: Pack, second: Pack) -> Pack:
    """Statistics of the elements of two packs together, segment by segment."""
    return Pack(
        first.counts + second.counts,
        first.sums + second.sums,
        ops.maximum(first.maxima, second.maxima),
    )


def concatenate(packs: Sequence[Pack]) -> Pack:
    """The segments of several packs one after the other."""
    if len(packs) == 1:
        return packs[0]
    return Pack(*(ops.concatenate(parts, axis=0) for parts in zip(*packs, strict=True)))


def least_normal(dtype: str) -> float:
    """The magnitude below which a value of `dtype` is subnormal.

    Example:

    >>> least_normal("float16") == 2.0**-14
    True
    >>> least_normal("int32") == least_normal("bfloat16") == TINY
    True
    """
    return max(FORMATS[dtype].min_normal, TINY) if dtype in FORMATS else TINY


def measure(
    computed: Tensor,
    shadow: Tensor,
    local: Tensor,
    least: float | Tensor,
    segments: Segments | None,
    kernels: Kernels,
) -> Pack:
    """Measures float32 values: one tensor, or a pool of them.

    Args:
        computed: `(n,)` values of the real step, cast up; `(rows, ROW)` for a pool.
        shadow: Float32 shadow values, of the same shape; the same object as `computed` where they
            cannot differ, which saves the comparison.
        local: Float32 results of the operations alone on their computed inputs; likewise.
        least: The `least_normal` of the dtype that `computed` had; `(segments,)` for a pool.
        segments: Where each row belongs; None when all elements are one segment.
        kernels: The backend's own operations.

    Returns:
        A `Pack` with a row per segment.
    """
    reduce = _Reduction(segments, kernels)
    lanes = _Lanes(computed, shadow, local)
    plain_sums = _sums(lanes, reduce)
    finite = _all_finite(lanes, plain_sums)
    sums, peaks = ops.cond(
        finite,
        lambda: (plain_sums, _peaks(lanes, reduce)),
        lambda: (_sums(lanes, reduce, guarded=True), _peaks(lanes, reduce, guarded=True)),
    )
    lowest, tallies = _small_values(lanes, least, finite, reduce)
    fields = ops.right_shift(kernels.bits(lanes.magnitude(shadow)), FIELD_SHIFT)
    elements = reduce.elements(computed)
    extras = ops.stack([elements, ops.zeros_like(elements)], axis=1)
    counts = [reduce.histogram(fields, FIELDS), tallies, extras]
    maxima = ops.stack([*peaks, lowest], axis=1)
    neutral = ops.convert_to_tensor([NO_MAXIMA], "float32")
    return Pack(ops.concatenate(counts, axis=1), sums, ops.maximum(maxima, neutral))


def count_differing(pack: Pack, computed: Tensor, shadow: Tensor) -> Pack:
    """The pack of one tensor of integers, with the count of those that differ in the shadow."""
    differing = ops.sum(ops.cast(ops.not_equal(computed, shadow), "int32"))
    counts = ops.concatenate([pack.counts[:, :-1], ops.reshape(differing, (1, 1))], axis=1)
    return pack._replace(counts=counts)


class _Lanes:
    """Three lanes, of which some may be one tensor; what is derived from one is computed once."""

    def __init__(self, computed: Tensor, shadow: Tensor, local: Tensor) -> None:
        self.computed, self.shadow, self.local = computed, shadow, local
        self.distinct = {id(lane): lane for lane in (computed, shadow, local)}
        self._magnitudes = {key: ops.abs(lane) for key, lane in self.distinct.items()}
        self.distances = {
            key: ops.abs(computed - lane)
            for key, lane in self.distinct.items()
            if lane is not computed
        }

    def magnitude(self, lane: Tensor) -> Tensor:
        return self._magnitudes[id(lane)]


class _Reduction:
    """Reduces elements to one value per segment."""

    def __init__(self, segments: Segments | None, kernels: Kernels) -> None:
        self._segments, self._kernels = segments, kernels
        self.pooled = segments is not None
        self.total: int | Tensor = segments.total if segments is not None else 1

    def elements(self, like: Tensor) -> Tensor:
        """Elements of every segment."""
        if self._segments is not None:
            return self._segments.sizes
        return ops.reshape(ops.cast(ops.size(like), "int32"), (1,))

    def sum(self, values: Tensor) -> Tensor:
        if self._segments is None:
            return ops.reshape(ops.sum(values), (1,))
        rows = ops.sum(values, axis=1)
        return self._kernels.segment_sum(rows, self._segments.numbers, self.total)

    def max(self, values: Tensor) -> Tensor:
        if self._segments is None:
            return ops.reshape(ops.max(values, initial=NOTHING), (1,))
        rows = ops.max(values, axis=1, initial=NOTHING)
        found = self._kernels.segment_max(rows, self._segments.numbers, self.total)
        # A segment without elements may be given any number.
        return ops.where(self._segments.sizes > 0, found, NOTHING)

    def histogram(self, bins: Tensor, size: int) -> Tensor:
        if self._segments is not None:
            bins = bins + size * self._segments.numbers[:, None]
        flat = self._kernels.histogram(ops.reshape(bins, (-1,)), size * self.total)
        return ops.reshape(flat, (-1, size))

    def max_of_negative(self, values: Tensor) -> Tensor:
        """The smallest value, negated, so that packs merge by their maxima."""
        if self._segments is None:
            return ops.reshape(-ops.min(values, initial=-NOTHING), (1,))
        rows = -ops.min(values, axis=1, initial=-NOTHING)
        return self._kernels.segment_max(rows, self._segments.numbers, self.total)

    def spread(self, per_segment: float | Tensor) -> float | Tensor:
        """A value per segment as one that stands beside the elements."""
        if self._segments is None:
            return per_segment
        return ops.take(per_segment, self._segments.numbers)[:, None]

    def chosen(self, mask: Tensor, vectors: Sequence[Tensor]) -> list[Tensor]:
        """The elements of every vector at which the mask holds, and their segments."""
        if self._segments is None:
            chosen = list(self._kernels.select(mask, vectors))
            return [*chosen, ops.zeros_like(chosen[0], dtype="int32")]
        numbers = ops.broadcast_to(self._segments.numbers[:, None], ops.shape(mask))
        return list(self._kernels.select(mask, [*vectors, numbers]))

    def no_tallies(self) -> Tensor:
        """The tallies without special elements."""
        return ops.zeros((self.total, len(TALLIES)), "int32")

    def tallies(self, codes: Tensor, segments: Tensor) -> Tensor:
        """The tallies of each segment, from the joint classes of special elements."""
        flat = self._kernels.histogram(codes + CODES * segments, CODES * self.total)
        table = ops.reshape(flat, (-1, 1, CODES))
        members = ops.convert_to_tensor(MEMBERS)
        return ops.cast(ops.sum(table * members, axis=2), "int32")


def _all_finite(lanes: _Lanes, sums: Tensor) -> Tensor:
    """Whether all values are finite (or, rarely, False although only a sum is not)."""
    # A difference is finite only if both values are.
    judge = sums if lanes.distances else lanes.magnitude(lanes.computed)
    return ops.isfinite(ops.sum(judge))


def _nonfinite(lanes: _Lanes) -> Tensor:
    """Elements that are not finite in some lane."""
    # Not as `not x < inf`: TensorFlow's graph optimizer makes that `x >= inf`, which no NaN is.
    found = ops.logical_not(ops.isfinite(lanes.computed))
    for distance in lanes.distances.values():
        found = ops.logical_or(found, ops.logical_not(ops.isfinite(distance)))
    return found


def _sums(lanes: _Lanes, reduce: _Reduction, *, guarded: bool = False) -> Tensor:
    """Sum |computed - truth| and sum |truth| for both truths, where both are finite."""
    pairs = {}
    for key, distance in lanes.distances.items():
        pair = [distance, lanes.magnitude(lanes.distinct[key])]
        if guarded:
            pair = [ops.where(distance < np.inf, values, 0.0) for values in pair]
        pairs[key] = [reduce.sum(values) for values in pair]
    nothing = [ops.zeros_like(reduce.elements(lanes.computed), dtype="float32")] * 2
    truths = (lanes.shadow, lanes.local)
    return ops.stack([part for lane in truths for part in pairs.get(id(lane), nothing)], axis=1)


def _peaks(lanes: _Lanes, reduce: _Reduction, *, guarded: bool = False) -> tuple[Tensor, Tensor]:
    """The largest finite magnitudes of the shadow and of the computed values."""

    def finite(magnitude: Tensor) -> Tensor:
        return ops.where(magnitude < np.inf, magnitude, 0.0) if guarded else magnitude

    computed, shadow = lanes.magnitude(lanes.computed), lanes.magnitude(lanes.shadow)
    peak = reduce.max(finite(shadow))
    return peak, peak if computed is shadow else reduce.max(finite(computed))


def _small_values(
    lanes: _Lanes, least: float | Tensor, finite: Tensor, reduce: _Reduction
) -> tuple[Tensor, Tensor]:
    """The smallest nonzero shadow magnitude, negated, and the tallies."""
    computed, shadow = lanes.magnitude(lanes.computed), lanes.magnitude(lanes.shadow)

    def in_general() -> tuple[Tensor, Tensor]:
        lowest = reduce.max_of_negative(ops.where(shadow >= TINY, shadow, -NOTHING))
        return lowest, _tallies(lanes, _special(lanes, least, finite, reduce), least, reduce)

    if reduce.pooled:  # Which is filled up with zeros.
        return in_general()
    lowest = reduce.max_of_negative(shadow)
    smallest = lowest
    if computed is not shadow:
        smallest = ops.maximum(lowest, reduce.max_of_negative(computed))
    all_normal = ops.all(-smallest >= least)
    lowest, tallies = ops.cond(
        ops.logical_and(finite, all_normal), lambda: (lowest, reduce.no_tallies()), in_general
    )
    return lowest, tallies


def _special(lanes: _Lanes, least: float | Tensor, finite: Tensor, reduce: _Reduction) -> Tensor:
    """Elements that are neither zero in every lane nor normal where it matters."""
    computed, shadow = lanes.magnitude(lanes.computed), lanes.magnitude(lanes.shadow)
    smaller = computed if computed is shadow else ops.minimum(computed, shadow)
    larger = computed if computed is shadow else ops.maximum(computed, shadow)
    if lanes.local is not lanes.computed and lanes.local is not lanes.shadow:
        larger = ops.maximum(larger, lanes.magnitude(lanes.local))
    special = ops.logical_and(smaller < reduce.spread(least), larger >= TINY)
    return ops.cond(finite, lambda: special, lambda: ops.logical_or(special, _nonfinite(lanes)))


def _tallies(lanes: _Lanes, special: Tensor, least: float | Tensor, reduce: _Reduction) -> Tensor:
    """Counts of the special elements, segment by segment."""
    *chosen, segments = reduce.chosen(special, list(lanes.distinct.values()))
    least = ops.take(least, segments) if reduce.pooled else least
    classes = {
        key: _class(values, least) for key, values in zip(lanes.distinct, chosen, strict=True)
    }
    code = classes[id(lanes.computed)] + CLASSES * classes[id(lanes.shadow)]
    return reduce.tallies(code + CLASSES**2 * classes[id(lanes.local)], segments)


def _class(values: Tensor, least: float | Tensor) -> Tensor:
    # Each comparison that holds lifts the class by one; a NaN holds none and is set apart.
    magnitude = ops.abs(values)
    holding = [magnitude >= TINY, magnitude >= least, magnitude == np.inf]
    code = sum(ops.cast(held, "int32") for held in holding)
    return ops.where(magnitude == magnitude, code, NAN)
