"""Turns measured rows, fetched to the host, into `records.Statistics`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from floatline.records import Statistics
from floatline.tracing.statistics import EXTRAS, FIELDS, NOTHING, Pack
from floatline.tracing.tallies import TALLIES

_NONFINITE_FIELD = 255
_EXPONENT_BIAS = 127


def decode(pack: Pack) -> list[Statistics]:
    """Statistics of every segment of a pack that was fetched to the host.

    Example:

    >>> from keras import ops
    >>> from floatline.tracing.statistics import Kernels, least_normal, measure
    >>> values = ops.convert_to_tensor([1.0, 0.0, float("inf")])
    >>> shadow = ops.convert_to_tensor([1.0, 1e-9, 1e5])
    >>> kernels = Kernels(
    ...     bits=lambda x: ops.view(x, "int32"),
    ...     segment_sum=ops.segment_sum,
    ...     segment_max=ops.segment_max,
    ...     histogram=lambda values, length: ops.bincount(values, minlength=length),
    ...     select=lambda mask, vectors: [vector[mask] for vector in vectors],
    ... )
    >>> pack = measure(values, shadow, shadow, least_normal("float16"), None, kernels)
    >>> statistics = decode(Pack(*(ops.convert_to_numpy(part) for part in pack)))[0]
    >>> statistics.flushed, statistics.saturated, statistics.exponents
    (1, 1, {-30: 1, 0: 1, 16: 1})
    """
    counts, maxima = np.asarray(pack.counts), np.asarray(pack.maxima, "float64")
    columns = {
        **_counted(counts),
        "max_abs": maxima[:, 0],
        "computed_max_abs": maxima[:, 1],
        "min_abs_nonzero": np.where(maxima[:, 2] > NOTHING, -maxima[:, 2], 0.0),
        **_ratios(np.asarray(pack.sums, "float64")),
        "exponents": _exponents(counts[:, :FIELDS]),
    }
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    return [Statistics(**dict(zip(columns, row, strict=True))) for row in rows]


def _counted(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The counts of `Statistics`, a column for each."""
    elements, differing = counts[:, -EXTRAS], counts[:, -1]
    found = dict(zip(TALLIES, counts[:, FIELDS:-EXTRAS].T, strict=True))
    # What has an exponent is not zero in the shadow; what is not special there is zero in all.
    shadow_zero = elements - counts[:, 1:FIELDS].sum(axis=1)
    return {
        **found,
        "zero": shadow_zero - found["shadow_zero"] + found["zero"],
        "shadow_zero": shadow_zero,
        "count": elements,
        "mismatched": differing,
    }


def _exponents(fields: np.ndarray) -> np.ndarray:
    """Elements per power of two; field 0 is below all of them, field 255 not finite."""
    rows, found = np.nonzero(fields[:, 1:_NONFINITE_FIELD])
    powers, counted = (found + 1 - _EXPONENT_BIAS).tolist(), fields[rows, found + 1].tolist()
    borders = np.searchsorted(rows, np.arange(len(fields) + 1)).tolist()
    result = np.empty(len(fields), object)
    result[:] = [
        dict(zip(powers[start:end], counted[start:end], strict=True))
        for start, end in pairwise(borders)
    ]
    return result


def _ratios(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Relative errors; where the truth is 0 everywhere, any difference at all counts as 1."""
    distance, magnitude = sums[:, 0::2], sums[:, 1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(magnitude > 0, distance / magnitude, distance > 0)
    # The sum left float32, and what is lost beside it cannot be told.
    error = np.where(np.isinf(magnitude), np.isinf(distance), ratio)
    return {"error": error[:, 0], "local_error": error[:, 1]}
