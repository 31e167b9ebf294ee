"""Batches whose targets belong to other inputs: what a training learns without its pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from floatline.backends.interface import Batch

NUMBERS = ("float", "int", "uint", "bool")
"""How the dtypes begin whose tensors can be put in another order."""

Rows = np.ndarray[Any, Any]


def dealt_out(batches: Sequence[Batch], seed: int = 0) -> tuple[Batch, ...]:
    """The batches of `fit` with each other's targets, and sample weights with them.

    Equal inputs get equal targets wherever they come: what is learned by heart over several epochs
    can be learned by heart here as well. No inputs keep their targets.

    Args:
        batches: What Keras hands to a training step: inputs, targets, perhaps sample weights.
        seed: Of the order in which targets are dealt out.

    Returns:
        As many batches; none at all where a batch has no targets beside its inputs, where either
        are no ordinary tensors or of several sizes, or where inputs are whole numbers: of ids there
        may be nothing to learn but by heart, with any targets as well as with the right ones.

    Example:

    >>> ((x, y),) = dealt_out([(np.array([[0.5], [1.5]]), np.array([1.0, 2.0]))])
    >>> x[:, 0].tolist(), np.array(y).tolist()
    ([0.5, 1.5], [2.0, 1.0])
    """
    if not batches or not all(_has_pairs(batch) for batch in batches):
        return ()
    inputs, others = ([list(half(batch)) for batch in batches] for half in (_inputs, _others))
    if not (_of_one_size(inputs) and _of_one_size(others)):
        return ()
    features = _columns(inputs)
    if any((column == np.round(column)).all() for column in features):
        return ()
    rows = [leaves[0].shape[0] for leaves in inputs]
    chosen = np.split(_partners(features, seed), np.cumsum(rows)[:-1])
    columns = _columns(others)
    return tuple(
        _with_others(batch, [column[index] for column in columns])
        for batch, index in zip(batches, chosen, strict=True)
    )


def compares_row_by_row(model: Any) -> bool:
    """Whether each prediction is held against the target of its own row, and nothing else.

    So do Keras' losses in Keras' own training step. What a user writes may compare distributions.

    Args:
        model: A compiled Keras model.
    """
    own = ("compute_loss", "train_step")
    if any(getattr(type(model), name) is not getattr(keras.Model, name) for name in own):
        return False
    losses = [loss for loss in keras.tree.flatten(model.loss) if loss is not None]
    modules = [getattr(loss, "__module__", type(loss).__module__) for loss in losses]
    return bool(losses) and all(
        isinstance(loss, str) or str(module).startswith("keras.")
        for loss, module in zip(losses, modules, strict=True)
    )


def _inputs(batch: Batch) -> Iterator[Any]:
    yield from keras.tree.flatten(batch[0])


def _others(batch: Batch) -> Iterator[Any]:
    """What belongs to the rows besides the inputs: targets and sample weights."""
    yield from (leaf for part in batch[1:] if part is not None for leaf in keras.tree.flatten(part))


def _has_pairs(batch: Batch) -> bool:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3) or batch[1] is None:
        return False
    leaves = [*_inputs(batch), *_others(batch)]
    return all(_is_rows(leaf) for leaf in leaves) and len({leaf.shape[0] for leaf in leaves}) == 1


def _is_rows(leaf: Any) -> bool:
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype") and len(leaf.shape) > 0):
        return False
    dtype = str(getattr(leaf.dtype, "name", leaf.dtype)).removeprefix("torch.")
    return hasattr(leaf, "__getitem__") and dtype.startswith(NUMBERS)


def _of_one_size(leaves: Sequence[Sequence[Any]]) -> bool:
    return len({tuple(tuple(leaf.shape[1:]) for leaf in batch) for batch in leaves}) == 1


def _columns(leaves: Sequence[Sequence[Any]]) -> list[Rows]:
    """The rows of all batches in one array for each leaf."""
    return [
        np.concatenate([keras.ops.convert_to_numpy(leaf) for leaf in same])
        for same in zip(*leaves, strict=True)
    ]


def _partners(columns: Sequence[Rows], seed: int) -> Rows:
    """For every row another one: distinct rows stand in one circle, and each gets the next."""
    rows = zip(*columns, strict=True)
    keys = [hashlib.blake2b(b"".join(value.tobytes() for value in row)).digest() for row in rows]
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    distinct = np.random.default_rng(seed).permutation(list(first.values()))
    follower = dict(zip(distinct, np.roll(distinct, 1), strict=True))
    return np.array([follower[first[key]] for key in keys])


def _with_others(batch: Batch, leaves: Sequence[Rows]) -> Batch:
    waiting = iter(leaves)

    def next_like(leaf: Any) -> Any:
        rows = next(waiting)
        if isinstance(leaf, np.ndarray):
            return rows
        return keras.ops.convert_to_tensor(rows, dtype=leaf.dtype)

    parts = [
        None if part is None else keras.tree.map_structure(next_like, part) for part in batch[1:]
    ]
    return type(batch)([batch[0], *parts])
