"""Statistics of many operation outputs at once: measured on the device, decoded on the host.

The outputs of a step are pooled into flat vectors with a segment number per element, so that a
step with thousands of small tensors costs a few dozen operations instead of tens of thousands.
`measure` is written with `keras.ops` and therefore the same on every backend; `decode` turns its
rows into `records.Statistics`.

Most elements are ordinary: finite and normal in both lanes. They need sums, maxima and a place in
the histogram. Only the others are looked at one by one, in a table of joint classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from floatline.formats import FORMATS, LOW_FORMATS
from floatline.records import Statistics

Tensor = Any
"""A tensor of whatever backend is running."""

_FIELD_SHIFT = 23
_FIELDS = 256
_NONFINITE_FIELD = 255
_EXPONENT_BIAS = 127

_ZERO, _SUBNORMAL, _NORMAL, _INF, _NAN = range(5)
_CLASSES = 5
_CODES = _CLASSES**3
"""Joint classes of a special element: computed, shadow, local."""

_EXTRAS = 2
"""Further counts: elements, differing integers."""

_COUNTS = _FIELDS + _CODES + _EXTRAS
_SUMS = 4
_NO_MAXIMA = (0.0, 0.0, -np.inf)


class Kernels(NamedTuple):
    """What a backend does in its own way.

    Attributes:
        bits: Reads the bits of float32 values as int32.
        segment_sum: `(values, ascending segment numbers, segments)` to sums per segment.
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
    """The tensors that were joined into a pool.

    Attributes:
        numbers: `(n,)` int32, ascending: the segment of each element.
        sizes: `(segments,)` int32: elements of each segment.
        total: How many segments there are.
    """

    numbers: Tensor
    sizes: Tensor
    total: int | Tensor


class Pack(NamedTuple):
    """Measured rows, one per segment; packs of the same segments merge elementwise.

    Attributes:
        counts: int32 `(segments, 383)`: shadow elements per float32 exponent field, special
            elements per joint class, then elements and differing integers.
        sums: float32 `(segments, 4)`: sum |computed - shadow|, |shadow|, |computed - local| and
            |local|, each over elements where both are finite.
        maxima: float32 `(segments, 3)`: max |shadow| and max |computed| of finite values, and
            max -|shadow| of nonzero ones.
    """

    counts: Tensor
    sums: Tensor
    maxima: Tensor


def empty(segments: int) -> Pack:
    """The pack of `segments` segments without elements: the neutral element of `merge`."""
    return Pack(
        ops.zeros((segments, _COUNTS), "int32"),
        ops.zeros((segments, _SUMS), "float32"),
        ops.tile(ops.convert_to_tensor([_NO_MAXIMA], "float32"), (segments, 1)),
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


def measure(
    computed: Tensor,
    shadow: Tensor,
    local: Tensor,
    dtype: str,
    segments: Segments | None,
    kernels: Kernels,
) -> Pack:
    """Measures flat float32 vectors of equal length.

    Args:
        computed: `(n,)` values of the real step, cast up.
        shadow: `(n,)` float32 shadow values; the same object as `computed` where they cannot
            differ, which saves the comparison.
        local: `(n,)` float32 results of the operations alone on their computed inputs; likewise.
        dtype: Dtype in which `computed` was computed.
        segments: Where each element belongs; None when all are one segment.
        kernels: The backend's own operations.

    Returns:
        A `Pack` with a row per segment.
    """
    reduce = _Reduction(segments, kernels)
    magnitude, shadow_magnitude = ops.abs(computed), ops.abs(shadow)
    least = FORMATS[dtype].min_normal if dtype in LOW_FORMATS else 0.0
    ordinary = _ordinary(computed, shadow, magnitude, shadow_magnitude, least)
    peak = reduce.max(_finite(shadow_magnitude))
    computed_peak = peak if computed is shadow else reduce.max(_finite(magnitude))
    lowest = reduce.max(ops.where(shadow_magnitude > 0, -shadow_magnitude, -np.inf))
    # A segment without elements may be given any number, and 0 would win every merge.
    lowest = ops.where(reduce.elements(computed) > 0, lowest, -np.inf)
    nothing = ops.zeros_like(peak)
    sums = [
        *(_errors(computed, shadow, reduce) or (nothing, nothing)),
        *(_errors(computed, local, reduce) or (nothing, nothing)),
    ]
    same = ops.zeros_like(peak, dtype="int32")
    differing = same if dtype in FORMATS else _differing(computed, shadow, reduce)
    counts = [
        reduce.histogram(_fields(shadow_magnitude, kernels), _FIELDS),
        _special(computed, shadow, local, ops.logical_not(ordinary), least, reduce, kernels),
        ops.stack([reduce.elements(computed), differing], axis=1),
    ]
    neutral = ops.convert_to_tensor([_NO_MAXIMA], "float32")
    return Pack(
        ops.concatenate(counts, axis=1),
        ops.stack(sums, axis=1),
        ops.maximum(ops.stack([peak, computed_peak, lowest], axis=1), neutral),
    )


def _ordinary(
    computed: Tensor, shadow: Tensor, magnitude: Tensor, shadow_magnitude: Tensor, least: float
) -> Tensor:
    """Elements that are finite and normal (at least nonzero) in both lanes."""
    above = ops.greater_equal if least > 0 else ops.greater
    if computed is shadow:
        return ops.logical_and(above(magnitude, least), magnitude < np.inf)
    # A difference is finite only if both are: inf - inf is NaN.
    finite = ops.abs(computed - shadow) < np.inf
    return ops.logical_and(above(ops.minimum(magnitude, shadow_magnitude), least), finite)


def _special(
    computed: Tensor,
    shadow: Tensor,
    local: Tensor,
    special: Tensor,
    least: float,
    reduce: _Reduction,
    kernels: Kernels,
) -> Tensor:
    """Joint classes of the special elements, segment by segment."""
    lanes: list[Tensor] = []
    for lane in (computed, shadow, local):
        if not any(lane is known for known in lanes):
            lanes.append(lane)
    *chosen, segments = kernels.select(special, [*lanes, *reduce.numbers(special)])
    classes = {id(lane): _class(values, least) for lane, values in zip(lanes, chosen, strict=True)}
    code = sum(
        place * classes[id(lane)]
        for place, lane in ((1, computed), (_CLASSES, shadow), (_CLASSES**2, local))
    )
    return reduce.histogram(code, _CODES, segments)


def _class(values: Tensor, least: float) -> Tensor:
    # Each comparison that holds lifts the class by one; a NaN holds none and is set apart.
    magnitude = ops.abs(values)
    holding = [magnitude > 0, magnitude >= least, magnitude == np.inf]
    code = sum(ops.cast(held, "int32") for held in holding)
    if least == 0:  # Then zeros hold the second one, too.
        code = ops.where(magnitude == 0, _ZERO, code)
    return ops.where(magnitude == magnitude, code, _NAN)


class _Reduction:
    """Reduces a flat vector to one value per segment."""

    def __init__(self, segments: Segments | None, kernels: Kernels) -> None:
        self._segments, self._kernels = segments, kernels
        self.total: int | Tensor = segments.total if segments is not None else 1

    def numbers(self, like: Tensor) -> list[Tensor]:
        """The segment of every element."""
        if self._segments is not None:
            return [self._segments.numbers]
        return [ops.zeros_like(like, dtype="int32")]

    def elements(self, like: Tensor) -> Tensor:
        """Elements of every segment."""
        if self._segments is not None:
            return self._segments.sizes
        return ops.reshape(ops.cast(ops.size(like), "int32"), (1,))

    def sum(self, row: Tensor) -> Tensor:
        if self._segments is None:
            return ops.reshape(ops.sum(row), (1,))
        return self._kernels.segment_sum(row, self._segments.numbers, self.total)

    def max(self, row: Tensor) -> Tensor:
        if self._segments is None:
            return ops.reshape(ops.max(row, initial=-np.inf), (1,))
        return self._kernels.segment_max(row, self._segments.numbers, self.total)

    def histogram(self, bins: Tensor, size: int, numbers: Tensor | None = None) -> Tensor:
        if self._segments is None:
            return ops.reshape(self._kernels.histogram(bins, size), (1, size))
        segment = self._segments.numbers if numbers is None else numbers
        flat = self._kernels.histogram(bins + size * segment, size * self.total)
        return ops.reshape(flat, (-1, size))


def _finite(magnitude: Tensor) -> Tensor:
    return ops.where(magnitude < np.inf, magnitude, 0.0)


def _fields(magnitude: Tensor, kernels: Kernels) -> Tensor:
    return ops.right_shift(kernels.bits(magnitude), _FIELD_SHIFT)


def _differing(computed: Tensor, shadow: Tensor, reduce: _Reduction) -> Tensor:
    """Integers that differ; of floats nearly all do."""
    return reduce.sum(ops.cast(ops.not_equal(computed, shadow), "int32"))


def _errors(computed: Tensor, truth: Tensor, reduce: _Reduction) -> tuple[Tensor, Tensor] | None:
    """Sum |computed - truth| and sum |truth| where both are finite; None when they are one."""
    if computed is truth:
        return None
    distance = ops.abs(computed - truth)
    both = distance < np.inf
    return (
        reduce.sum(ops.where(both, distance, 0.0)),
        reduce.sum(ops.where(both, ops.abs(truth), 0.0)),
    )


def decode(pack: Pack) -> list[Statistics]:
    """Statistics of every segment of a pack that was fetched to the host.

    Example:

    >>> values = ops.convert_to_tensor([1.0, 0.0, float("inf")])
    >>> shadow = ops.convert_to_tensor([1.0, 1e-9, 1e5])
    >>> kernels = Kernels(
    ...     bits=lambda x: ops.view(x, "int32"),
    ...     segment_sum=ops.segment_sum,
    ...     segment_max=ops.segment_max,
    ...     histogram=lambda values, length: ops.bincount(values, minlength=length),
    ...     select=lambda mask, vectors: [vector[mask] for vector in vectors],
    ... )
    >>> pack = measure(values, shadow, shadow, "float16", None, kernels)
    >>> statistics = decode(Pack(*(ops.convert_to_numpy(part) for part in pack)))[0]
    >>> statistics.flushed, statistics.saturated, statistics.exponents
    (1, 1, {-30: 1, 0: 1, 16: 1})
    """
    rows = zip(np.asarray(pack.counts), np.asarray(pack.sums), np.asarray(pack.maxima), strict=True)
    return [_decode_row(counts, sums, maxima) for counts, sums, maxima in rows]


def _decode_row(counts: np.ndarray, sums: np.ndarray, maxima: np.ndarray) -> Statistics:
    # Axes: local class, shadow class, computed class; the ordinary elements are added.
    elements, differing = (int(n) for n in counts[-_EXTRAS:])
    table = counts[_FIELDS : _FIELDS + _CODES].reshape(_CLASSES, _CLASSES, _CLASSES).copy()
    table[_NORMAL, _NORMAL, _NORMAL] += elements - table.sum()
    computed, shadow, local = (table.sum(axis=axes) for axes in ((0, 1), (0, 2), (1, 2)))
    by_shadow, by_local = table.sum(axis=0), table.sum(axis=1)
    nonzero, finite = slice(_SUBNORMAL, _INF), slice(_ZERO, _INF)
    return Statistics(
        count=elements,
        zero=int(computed[_ZERO]),
        subnormal=int(computed[_SUBNORMAL]),
        inf=int(computed[_INF]),
        nan=int(computed[_NAN]),
        shadow_zero=int(shadow[_ZERO]),
        shadow_inf=int(shadow[_INF]),
        shadow_nan=int(shadow[_NAN]),
        saturated=int(by_shadow[finite, _INF].sum()),
        flushed=int(by_shadow[nonzero, _ZERO].sum()),
        poisoned=int(by_shadow[finite, _NAN].sum()),
        local_saturated=int(by_local[finite, _INF].sum()),
        local_flushed=int(by_local[nonzero, _ZERO].sum()),
        local_nonfinite=int(local[_INF] + local[_NAN]),
        mismatched=differing,
        max_abs=float(maxima[0]),
        computed_max_abs=float(maxima[1]),
        min_abs_nonzero=float(-maxima[2]) if -np.inf < maxima[2] < 0 else 0.0,
        error=_ratio(sums[0], sums[1]),
        local_error=_ratio(sums[2], sums[3]),
        exponents=_exponents(counts[:_FIELDS]),
    )


def _exponents(counts: np.ndarray) -> dict[int, int]:
    """Elements per power of two; field 0 holds zeros, field 255 what is not finite."""
    fields = np.flatnonzero(counts[1:_NONFINITE_FIELD]) + 1
    return {int(field) - _EXPONENT_BIAS: int(counts[field]) for field in fields}


def _ratio(distance: float, magnitude: float) -> float:
    """Relative error; where the truth is 0 everywhere, any difference at all counts as 1."""
    if np.isinf(magnitude):  # The sum left float32, and what is lost beside it cannot be told.
        return 1.0 if np.isinf(distance) else 0.0
    if magnitude > 0:
        return float(distance) / float(magnitude)
    return 1.0 if distance > 0 else 0.0
