"""Which matrix products of a layer have sides that miss the tensor cores.

In 16-bit formats both sides of a matrix product should be multiples of 8, as NVIDIA's guide to
mixed precision says (https://docs.nvidia.com/deeplearning/performance/mixed-precision-training/).
"""

from __future__ import annotations

import math
from typing import Any

import keras

from floatline.precision.inspection import Dimension

MULTIPLE = 8
"""Elements; 16 bytes in a 16-bit format."""

_LAST_TWO_SIDES = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
"""Layers whose kernels end in (inputs, outputs)."""


def misfits(layer: Any) -> tuple[Dimension, ...]:
    """The sides of the layer's matrix products that are no multiple of 8.

    Example:

    >>> layer = keras.layers.Dense(10)
    >>> layer.build((None, 64))
    >>> misfits(layer)
    (Dimension(name='outputs', size=10, good_size=16),)
    """
    named = sides(layer)
    return tuple(Dimension(name, size, good_size(size)) for name, size in named if size % MULTIPLE)


def good_size(size: int) -> int:
    """The next multiple of 8: padding loses nothing, cutting would.

    Example:

    >>> good_size(50257), good_size(8), good_size(1)
    (50264, 8, 8)
    """
    return math.ceil(size / MULTIPLE) * MULTIPLE


def sides(layer: Any) -> list[tuple[str, int]]:
    """The sides of the matrix that the layer multiplies by, the summed one first."""
    kernel = getattr(layer, "kernel", None) if layer.built else None
    if kernel is None:
        return []
    shape = [int(dim) for dim in kernel.shape]
    if isinstance(layer, _LAST_TWO_SIDES):
        return [("inputs", shape[-2]), ("outputs", shape[-1])]
    if hasattr(layer, "recurrent_kernel"):  # The gates of a cell stand side by side in one kernel.
        return [("inputs", shape[-2]), ("units", int(layer.recurrent_kernel.shape[-2]))]
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_sides(layer.equation, shape)
    return []


def _einsum_sides(equation: str, shape: list[int]) -> list[tuple[str, int]]:
    """Products over the letters of the kernel that are summed over, and those that remain."""
    operands, _, result = equation.replace(" ", "").partition("->")
    letters = operands.split(",")[1].replace(".", "")
    summed = math.prod(n for letter, n in zip(letters, shape, strict=True) if letter not in result)
    kept = math.prod(n for letter, n in zip(letters, shape, strict=True) if letter in result)
    return [("inputs", summed), ("outputs", kept)]
