"""Batches as the watch keeps them: how large they are, and copies that nobody overwrites."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from floatline.backends.interface import Batch

# Parts that hold the data of sparse and ragged tensors, which have no size of their own.
_PARTS = ("values", "indices", "flat_values", "nested_row_splits")


def size_in_bytes(batch: Batch) -> int:
    """Memory that a batch holds; leaves that are no arrays count as nothing."""
    return sum(_leaf_bytes(leaf) for leaf in keras.tree.flatten(batch))


def _leaf_bytes(leaf: Any) -> int:
    # Asked of the type: an object may claim to have any attribute.
    parts = [getattr(leaf, name) for name in _PARTS if hasattr(type(leaf), name)]
    data = [part for part in parts if part is not None and not callable(part)]
    if data:
        return sum(_leaf_bytes(part) for part in keras.tree.flatten(data))
    if not (hasattr(type(leaf), "shape") and hasattr(type(leaf), "dtype")):
        return int(leaf.nbytes) if hasattr(type(leaf), "nbytes") else 0
    shape, dtype = leaf.shape, leaf.dtype
    width = getattr(dtype, "itemsize", None) or getattr(dtype, "size", None) or 1
    return math.prod(int(dimension) for dimension in shape) * int(width)


def kept(batch: Batch) -> Batch:
    """The batch as it is now: arrays that a loop may refill are copied."""
    return keras.tree.map_structure(_copied, batch)


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf.copy()
    # PyTorch's tensors can be written to as well. An object may claim to have any attribute.
    if hasattr(type(leaf), "untyped_storage"):
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)
    return leaf
