"""JAX's part of measuring: one reduction of many operands, and counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.lanes import Array
from floatline.tracing.fused import COPIES, Column, Kernels
from floatline.tracing.statistics import NOTHING


def kernels() -> Kernels:
    """JAX's own operations, for the device that is there."""
    return Kernels(
        bits=lambda values: lax.bitcast_convert_type(values, jnp.int32),
        reduce=_reduced,
        histogram=lambda values, length: jnp.bincount(values, length=length),
        segment_sum=jax.ops.segment_sum,
        segment_max=jax.ops.segment_max,
        copies=1 if jax.default_backend() == "cpu" else COPIES,
    )


def _reduced(sums: Column, maxima: Column, counts: Column) -> tuple[Column, Column, Column]:
    borders = (len(sums), len(sums) + len(maxima))

    def combine(first: Sequence[Array], second: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(
            lax.max(a, b) if number in range(*borders) else lax.add(a, b)
            for number, (a, b) in enumerate(zip(first, second, strict=True))
        )

    neutral: list[Any] = [np.float32(0.0)] * len(sums)
    neutral += [np.float32(NOTHING)] * len(maxima) + [np.int32(0)] * len(counts)
    operands = (*sums, *maxima, *counts)
    results = lax.reduce(operands, tuple(neutral), combine, (operands[0].ndim - 1,))
    return results[: borders[0]], results[borders[0] : borders[1]], results[borders[1] :]
