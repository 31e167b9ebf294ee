"""Statistics of many operation outputs at once: measured on the device, decoded on the host.

The outputs of a step are pooled into flat vectors with a segment number per element, so that a
step with thousands of small tensors costs a few dozen operations instead of tens of thousands.
`measure` is written with `keras.ops` and therefore the same on every backend; `decode` turns its
rows into `records.Statistics`.

Everything that can be known from the top nine bits of a float32 below its sign (exponent and
first fraction bit: enough to tell 0, infinity and NaN apart) is read from tables instead of being
compared, which halves the passes over the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from floatline.formats import FORMATS
from floatline.records import Statistics

Tensor = Any
"""A tensor of whatever backend is running."""

_FIELD_SHIFT = 22
_FIELDS = 512
_INF_FIELD, _NAN_FIELD = 510, 511
_EXPONENT_BIAS = 127

_ZERO, _SUBNORMAL, _NORMAL, _INF, _NAN = range(5)
_CLASSES = 5
_CODES = _CLASSES**3
"""Joint classes of an element: computed, shadow, local."""

_COUNTS = _FIELDS + _CODES + 1
_SUMS = 4
_NO_MAXIMA = (0.0, 0.0, -np.inf)


class Kernels(NamedTuple):
    """What a backend does in its own way.

    Attributes:
        bits: Reads the bits of float32 values as int32.
        segment_sum: `(values, ascending segment numbers, segments)` to sums per segment.
        segment_max: Likewise the largest value; any number for a segment without elements.
        histogram: `(non-negative int32 values, length)` to how often each number below length occurs.
    """

    bits: Callable[[Tensor], Tensor]
    segment_sum: Callable[[Tensor, Tensor, int | Tensor], Tensor]
    segment_max: Callable[[Tensor, Tensor, int | Tensor], Tensor]
    histogram: Callable[[Tensor, int | Tensor], Tensor]


class Segments(NamedTuple):
    """Which segment each element of a pool belongs to: `(n,)` int32 ascending, and how many."""

    numbers: Tensor
    total: int | Tensor


class Pack(NamedTuple):
    """Measured rows, one per segment; packs of the same segments merge elementwise.

    Attributes:
        counts: int32 `(segments, 638)`: shadow elements per leading bits, elements per joint
            class, and elements whose computed and shadow values differ.
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
    fields = {id(lane): _field(lane, kernels) for lane in (computed, shadow, local)}
    tables = _class_tables(dtype)
    lanes = (computed, shadow, local)
    code = sum(ops.take(table, fields[id(lane)]) for table, lane in zip(tables, lanes, strict=True))
    magnitude = ops.abs(shadow)
    peak = reduce.max(_finite(magnitude))
    nonzero = ops.where(magnitude > 0, -magnitude, -np.inf)
    counts = [
        reduce.histogram(fields[id(shadow)], _FIELDS),
        reduce.histogram(code, _CODES),
    ]
    computed_peak = peak if computed is shadow else reduce.max(_finite(ops.abs(computed)))
    maxima = [peak, computed_peak, reduce.max(nonzero)]
    nothing = ops.zeros_like(peak)
    sums = [
        *(_errors(computed, shadow, reduce) or (nothing, nothing)),
        *(_errors(computed, local, reduce) or (nothing, nothing)),
    ]
    if dtype in FORMATS or computed is shadow:
        differing = nothing
    else:
        differing = reduce.sum(ops.cast(ops.not_equal(computed, shadow), "float32"))
    neutral = ops.convert_to_tensor([_NO_MAXIMA], "float32")
    # Floats nearly all differ; that integers do is news.
    counts.append(ops.cast(ops.reshape(differing, (-1, 1)), "int32"))
    return Pack(
        ops.concatenate(counts, axis=1),
        ops.stack(sums, axis=1),
        ops.maximum(ops.stack(maxima, axis=1), neutral),
    )


class _Reduction:
    """Reduces a flat vector to one value per segment."""

    def __init__(self, segments: Segments | None, kernels: Kernels) -> None:
        self._segments, self._kernels = segments, kernels
        self.count: int | Tensor = segments.total if segments is not None else 1

    def sum(self, row: Tensor) -> Tensor:
        if self._segments is None:
            return ops.reshape(ops.sum(row), (1,))
        return self._kernels.segment_sum(row, self._segments.numbers, self.count)

    def max(self, row: Tensor) -> Tensor:
        if self._segments is None:
            return ops.reshape(ops.max(row, initial=-np.inf), (1,))
        return self._kernels.segment_max(row, self._segments.numbers, self.count)

    def histogram(self, bins: Tensor, size: int) -> Tensor:
        if self._segments is None:
            return ops.reshape(self._kernels.histogram(bins, size), (1, size))
        flat = self._kernels.histogram(bins + size * self._segments.numbers, size * self.count)
        return ops.reshape(flat, (-1, size))


def _finite(magnitude: Tensor) -> Tensor:
    return ops.where(magnitude < np.inf, magnitude, 0.0)


def _field(values: Tensor, kernels: Kernels) -> Tensor:
    return ops.bitwise_and(ops.right_shift(kernels.bits(values), _FIELD_SHIFT), _FIELDS - 1)


def _class_tables(dtype: str) -> list[Tensor]:
    """For each lane, the class of every field times the lane's place value in the joint code."""
    fields = np.arange(_FIELDS)
    classes = np.full(_FIELDS, _NORMAL)
    low = FORMATS.get(dtype, FORMATS["float32"]).min_normal_exponent
    # Field 1 holds float32's own larger subnormals; field 0 cannot tell the others from 0, and
    # the processors that frameworks run on flush both.
    classes[fields < 2 * (low + _EXPONENT_BIAS)] = _SUBNORMAL
    classes[0], classes[_INF_FIELD], classes[_NAN_FIELD] = _ZERO, _INF, _NAN
    return [ops.convert_to_tensor(classes * _CLASSES**lane, "int32") for lane in range(3)]


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
    >>> count = lambda values, length: ops.bincount(values, minlength=length)
    >>> bits = lambda x: ops.view(x, "int32")
    >>> kernels = Kernels(bits, ops.segment_sum, ops.segment_max, count)
    >>> pack = measure(values, shadow, shadow, "float16", None, kernels)
    >>> statistics = decode(Pack(*(ops.convert_to_numpy(part) for part in pack)))[0]
    >>> statistics.flushed, statistics.saturated, statistics.exponents
    (1, 1, {-30: 1, 0: 1, 16: 1})
    """
    rows = zip(np.asarray(pack.counts), np.asarray(pack.sums), np.asarray(pack.maxima), strict=True)
    return [_decode_row(counts, sums, maxima) for counts, sums, maxima in rows]


def _decode_row(counts: np.ndarray, sums: np.ndarray, maxima: np.ndarray) -> Statistics:
    # Axes: local class, shadow class, computed class.
    table = counts[_FIELDS : _FIELDS + _CODES].reshape(_CLASSES, _CLASSES, _CLASSES)
    computed, shadow, local = (table.sum(axis=axes) for axes in ((0, 1), (0, 2), (1, 2)))
    by_shadow, by_local = table.sum(axis=0), table.sum(axis=1)
    nonzero, finite = slice(_SUBNORMAL, _INF), slice(_ZERO, _INF)
    return Statistics(
        count=int(table.sum()),
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
        mismatched=int(counts[-1]),
        max_abs=float(maxima[0]),
        computed_max_abs=float(maxima[1]),
        min_abs_nonzero=float(-maxima[2]) if -np.inf < maxima[2] < 0 else 0.0,
        error=_ratio(sums[0], sums[1]),
        local_error=_ratio(sums[2], sums[3]),
        exponents=_exponents(counts[:_FIELDS]),
    )


def _exponents(counts: np.ndarray) -> dict[int, int]:
    """Elements per power of two; zeros and non-finite values are left out."""
    by_exponent = counts.reshape(-1, 2).sum(axis=1)
    by_exponent[0] = 0
    return {int(e) - _EXPONENT_BIAS: int(by_exponent[e]) for e in np.flatnonzero(by_exponent[:-1])}


def _ratio(distance: float, magnitude: float) -> float:
    """Relative error; where the truth is 0 everywhere, any difference at all counts as 1."""
    if magnitude > 0:
        return float(distance / magnitude)
    return 1.0 if distance > 0 else 0.0
