"""Statistics the way XLA likes them: every number comes out of one reduction of many operands.

XLA fuses what leads to a reduction into it, once for each: reductions side by side would compute
the same distances and magnitudes over and over, and branches would keep them from fusing at all.
Elsewhere `statistics.measure` is faster, for it looks closely only at the few special elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import and_
from typing import NamedTuple

import numpy as np
from keras import ops

from floatline.tracing.statistics import (
    FIELD_SHIFT,
    FIELDS,
    NO_MAXIMA,
    NOTHING,
    TINY,
    Pack,
    Segments,
    Tensor,
)
from floatline.tracing.tallies import CLASSES, INF, NAN, TALLIES

COPIES = 1 << 12
"""Histograms that a GPU counts into side by side: its threads wait for each other at a common bin,
and most values of an array have one of few exponents. On an H200, 2**26 values take 17 ms with one
copy, 3.7 ms with 256 and 0.6 ms with so many."""

Column = Sequence[Tensor]


class Kernels(NamedTuple):
    """What a backend does in its own way.

    Attributes:
        bits: Reads the bits of float32 values as int32.
        reduce: `(sums, maxima, counts)`, arrays of one shape, to their sums, maxima and sums along
            the last axis, in one reduction.
        histogram: `(int32 values, length)` to how often each number below length occurs.
        segment_sum: `(rows, segment numbers, segments)` to sums per segment.
        segment_max: Likewise the largest value; any number for a segment without elements.
        copies: Histograms to count into side by side.
    """

    bits: Callable[[Tensor], Tensor]
    reduce: Callable[[Column, Column, Column], tuple[Column, Column, Column]]
    histogram: Callable[[Tensor, int], Tensor]
    segment_sum: Callable[[Tensor, Tensor, int], Tensor]
    segment_max: Callable[[Tensor, Tensor, int], Tensor]
    copies: int


def measure(
    computed: Tensor,
    shadow: Tensor,
    local: Tensor,
    least: float | Tensor,
    segments: Segments | None,
    kernels: Kernels,
) -> Pack:
    """Measures float32 values: takes and gives what `statistics.measure` does."""
    bound = least if segments is None else ops.take(least, segments.numbers)[:, None]
    columns = kernels.reduce(
        _distances(computed, shadow, local),
        _extremes(computed, shadow),
        tallied(computed, shadow, local, bound),
    )
    sums, maxima, counts = (ops.stack(list(column), axis=-1) for column in columns)
    fields = ops.right_shift(kernels.bits(ops.abs(shadow)), FIELD_SHIFT)
    if segments is None:
        sums, maxima, counts = (part[None] for part in (sums, maxima, counts))
        exponents = _exponents(fields, kernels)
        elements = ops.reshape(ops.cast(ops.size(computed), "int32"), (1,))
    else:
        numbers, total, elements = segments.numbers, segments.total, segments.sizes
        sums, counts = (kernels.segment_sum(part, numbers, total) for part in (sums, counts))
        maxima = kernels.segment_max(maxima, numbers, total)
        bins = ops.reshape(fields + FIELDS * numbers[:, None], (-1,))
        exponents = ops.reshape(kernels.histogram(bins, FIELDS * total), (-1, FIELDS))
    extras = ops.stack([elements, ops.zeros_like(elements)], axis=1)
    neutral = ops.convert_to_tensor([NO_MAXIMA], "float32")
    return Pack(
        ops.concatenate([ops.cast(exponents, "int32"), counts, extras], axis=1),
        sums,
        ops.maximum(maxima, neutral),
    )


def _distances(computed: Tensor, shadow: Tensor, local: Tensor) -> list[Tensor]:
    """What the `sums` of a pack add up: distances and magnitudes where both lanes are finite."""
    found = []
    for truth in (shadow, local):
        if truth is computed:
            found += [ops.zeros_like(computed)] * 2
            continue
        distance = ops.abs(computed - truth)
        near = distance < np.inf
        found += [ops.where(near, values, 0.0) for values in (distance, ops.abs(truth))]
    return found


def _extremes(computed: Tensor, shadow: Tensor) -> list[Tensor]:
    """What the `maxima` of a pack are the largest of."""
    seen, true = ops.abs(computed), ops.abs(shadow)
    finite = [ops.where(values < np.inf, values, 0.0) for values in (true, seen)]
    return [*finite, ops.where(true >= TINY, -true, NOTHING)]


def tallied(computed: Tensor, shadow: Tensor, local: Tensor, least: float | Tensor) -> list[Tensor]:
    """1 where an element belongs to a tally; elements need not be special to be looked at."""
    magnitudes = [ops.abs(lane) for lane in (computed, shadow, local)]
    found = []
    for tally in TALLIES.values():
        named = [pair for pair in zip(magnitudes, tally, strict=True) if len(pair[1]) < CLASSES]
        members = reduce(and_, (_among(values, classes, least) for values, classes in named))
        found.append(ops.cast(members, "int32"))
    return found


def _among(magnitude: Tensor, classes: Sequence[int], least: float | Tensor) -> Tensor:
    """Whether a magnitude is of one of some neighbouring classes."""
    edges = (0.0, TINY, least, np.inf)
    first, last = classes[0], classes[-1]
    if last == NAN:
        return ops.logical_not(ops.isfinite(magnitude)) if first < NAN else ops.isnan(magnitude)
    inside = magnitude >= edges[first]
    return inside if last == INF else inside & (magnitude < edges[last + 1])


def _exponents(fields: Tensor, kernels: Kernels) -> Tensor:
    """How often each exponent occurs, as one row."""
    copies = kernels.copies
    bins = fields * copies + ops.arange(ops.size(fields), dtype="int32") % copies
    found = kernels.histogram(bins, FIELDS * copies)
    return ops.sum(ops.reshape(found, (1, FIELDS, copies)), axis=-1)
