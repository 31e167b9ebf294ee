"""Measuring on a GPU: XLA makes a few kernels of what would be launched one by one.

A traced step measures hundreds of tensors, in about fifty operations each, and a GPU that is given
one after the other waits for most of them. Processors do not wait like that, and measure as
`tracing/statistics.py` does it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from floatline.backends.tensorflow.lanes import Tensor, raised
from floatline.tracing.fused import COPIES, Column, Kernels, measure
from floatline.tracing.sharing import Sharing
from floatline.tracing.statistics import NOTHING, Pack, least_normal


def on_gpu() -> bool:
    """Whether steps run on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


# Compiled for each number of elements that it meets; it remembers functions only, never data.
@cache
def measuring_one(name: str, sharing: Sharing) -> Any:
    """The compiled measurement of a tensor of floats: of its distinct lanes, each `(n,)`.

    Args:
        name: The dtype that the tensor has in the step.
        sharing: Which of its lanes are one.
    """
    dtype = tf.as_dtype(name)

    def measure_tensor(*distinct: Tensor) -> Pack:
        lanes = sharing.all_lanes([tf.cast(lane, tf.float32) for lane in distinct])
        return measure(*lanes, least_normal(name), None, KERNELS)

    dtypes = [dtype if lane == 0 else raised(dtype) for lane in sharing.distinct]
    vectors = [tf.TensorSpec([None], dtype) for dtype in dtypes]
    function = tf.function(
        measure_tensor, input_signature=vectors, autograph=False, jit_compile=True
    )
    return function.get_concrete_function()


def _reduced(sums: Column, maxima: Column, counts: Column) -> tuple[Column, Column, Column]:
    borders = (len(sums), len(sums) + len(maxima))
    operands = [*sums, *maxima, *counts]
    largest = [number in range(*borders) for number in range(len(operands))]
    dtypes = [operand.dtype for operand in operands]

    def combine(*both: Tensor) -> list[Tensor]:
        pairs = zip(both[: len(operands)], both[len(operands) :], largest, strict=True)
        return [tf.maximum(a, b) if most else a + b for a, b, most in pairs]

    scalars = [tf.TensorSpec([], dtype) for dtype in dtypes * 2]
    results = xla.variadic_reduce(
        operands,
        init_values=[
            tf.constant(NOTHING if most else 0, dtype)
            for most, dtype in zip(largest, dtypes, strict=True)
        ],
        dimensions_to_reduce=[operands[0].shape.rank - 1],
        reducer=tf.function(combine, autograph=False).get_concrete_function(*scalars),
    )
    return results[: borders[0]], results[borders[0] : borders[1]], results[borders[1] :]


def _histogram(values: Tensor, length: int) -> Tensor:
    return tf.math.unsorted_segment_sum(tf.ones_like(values), values, length)


KERNELS = Kernels(
    bits=lambda values: tf.bitcast(values, tf.int32),
    reduce=_reduced,
    histogram=_histogram,
    segment_sum=tf.math.unsorted_segment_sum,
    segment_max=tf.math.unsorted_segment_max,
    copies=COPIES,
)
