"""Memory on TensorFlow: its errors when none is left, and what a graph needs at least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_SAME_MEMORY = frozenset(("Identity", "Reshape", "ExpandDims", "Squeeze", "StopGradient"))
"""Operations whose output is their first input, under another name or in another shape."""


def ran_short(error: Exception) -> bool:
    """Whether there was not enough memory."""
    return isinstance(error, (tf.errors.ResourceExhaustedError, MemoryError))


def on_host() -> bool:
    """Whether steps are computed in the memory of the host, which Linux does not refuse."""
    return not tf.config.list_logical_devices("GPU")


def least_bytes(graph: Any) -> int:
    """What the values of a graph take at least, where it runs in the order it was built in.

    Values of unknown size, and what loops and branches hold inside, count as nothing; an operation
    may write its results over what it is the last to read.

    Example:

    >>> @tf.function
    ... def doubled(x):
    ...     return tf.exp(x) @ tf.exp(x + 1.0)
    >>> graph = doubled.get_concrete_function(tf.TensorSpec((1024, 1024))).graph
    >>> least_bytes(graph) // 2**20
    8
    """
    operations = graph.get_operations()
    owner = _owners(operations)
    last = {owner[tensor.ref()]: position for position, tensor in _readings(graph, operations)}
    freed = [0] * (len(operations) + 1)
    for key, position in last.items():
        freed[position] += _size(key)
    live = most = 0
    for position, operation in enumerate(operations):
        own = [tensor.ref() for tensor in operation.outputs if owner[tensor.ref()] == tensor.ref()]
        made = sum(map(_size, own))
        most = max(most, live + made - min(made, freed[position]))
        live += made - freed[position] - sum(_size(key) for key in own if key not in last)
    return most


def _readings(graph: Any, operations: list[Any]) -> Iterator[tuple[int, Any]]:
    """Who reads which value, in order; what the graph returns is read after its end."""
    for position, operation in enumerate(operations):
        for tensor in operation.inputs:
            yield position, tensor
    for tensor in graph.outputs:
        yield len(operations), tensor


def _owners(operations: list[Any]) -> dict[Any, Any]:
    """For each value the one whose memory it is in."""
    owner: dict[Any, Any] = {}
    for operation in operations:
        for tensor in operation.outputs:
            shares = operation.type in _SAME_MEMORY
            owner[tensor.ref()] = owner[operation.inputs[0].ref()] if shares else tensor.ref()
    return owner


def _size(key: Any) -> int:
    """Bytes of a value; what is handed to the graph takes nothing, for it is there already."""
    tensor = key.deref()
    numbers = tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool
    count = tensor.shape.num_elements() if numbers else None
    return 0 if tensor.op.type == "Placeholder" else int(tensor.dtype.size * (count or 0))
