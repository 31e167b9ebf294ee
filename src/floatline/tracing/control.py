"""Batches whose inputs belong to other targets: what a training learns without its pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from floatline.backends.interface import Batch

SEED = 0
"""Of the order in which inputs are dealt out: the same diagnosis is made twice."""

NUMBERS = ("float", "int", "uint", "bool")
"""How the dtypes begin whose tensors can be put in another order."""


def dealt_out(batches: Sequence[Batch]) -> tuple[Batch, ...]:
    """The batches of `fit` with each other's inputs.

    Equal inputs get equal ones in exchange, wherever they come: what is learned by heart over
    several epochs can be learned by heart here as well. No inputs keep their targets.

    Args:
        batches: What Keras hands to a training step: inputs, targets, perhaps sample weights.

    Returns:
        As many batches; none at all where a batch has no targets beside its inputs, or where
        inputs are no ordinary tensors, or of several sizes.

    Example:

    >>> ((x, y),) = dealt_out([(np.array([[1.0], [2.0]]), np.array([1.0, 2.0]))])
    >>> np.array(x)[:, 0].tolist(), y.tolist()
    ([2.0, 1.0], [1.0, 2.0])
    """
    if not batches or not all(_has_pairs(batch) for batch in batches):
        return ()
    inputs = [keras.tree.flatten(batch[0]) for batch in batches]
    if len({tuple(tuple(leaf.shape[1:]) for leaf in leaves) for leaves in inputs}) > 1:
        return ()
    rows = [leaves[0].shape[0] for leaves in inputs]
    columns = [
        np.concatenate([keras.ops.convert_to_numpy(leaf) for leaf in leaves])
        for leaves in zip(*inputs, strict=True)
    ]
    chosen = np.split(_partners(columns), np.cumsum(rows)[:-1])
    return tuple(
        _with_inputs(batch, [column[index] for column in columns])
        for batch, index in zip(batches, chosen, strict=True)
    )


def _has_pairs(batch: Batch) -> bool:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3) or batch[1] is None:
        return False
    leaves = keras.tree.flatten(batch[0])
    return bool(leaves) and all(_is_rows(leaf) for leaf in leaves)


def _is_rows(leaf: Any) -> bool:
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype") and len(leaf.shape) > 0):
        return False
    dtype = str(getattr(leaf.dtype, "name", leaf.dtype)).removeprefix("torch.")
    return hasattr(leaf, "__getitem__") and dtype.startswith(NUMBERS)


def _partners(columns: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """For every row another one: distinct rows stand in one circle, and each gets the next."""
    rows = zip(*columns, strict=True)
    keys = [hashlib.blake2b(b"".join(value.tobytes() for value in row)).digest() for row in rows]
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    distinct = np.random.default_rng(SEED).permutation(list(first.values()))
    follower = dict(zip(distinct, np.roll(distinct, 1), strict=True))
    return np.array([follower[first[key]] for key in keys])


def _with_inputs(batch: Batch, leaves: Sequence[np.ndarray[Any, Any]]) -> Batch:
    pairs = zip(leaves, keras.tree.flatten(batch[0]), strict=True)
    tensors = [keras.ops.convert_to_tensor(new, dtype=old.dtype) for new, old in pairs]
    inputs = keras.tree.pack_sequence_as(batch[0], tensors)
    return type(batch)([inputs, *batch[1:]])
