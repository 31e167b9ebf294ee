"""Batches: spread over the parameters of a step, and how many rows their arrays share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from floatline.backends.interface import Batch


def of_one_batch(function: Callable[..., Any]) -> Callable[[Batch], Any]:
    """The function with a tuple batch spread over its parameters, if it takes that many.

    Example:

    >>> of_one_batch(lambda inputs, targets: inputs + targets)((1, 2))
    3
    >>> of_one_batch(lambda batch: batch)((1, 2))
    (1, 2)
    """

    def call(batch: Batch) -> Any:
        if isinstance(batch, (tuple, list)) and _accepts(function, len(batch)):
            return function(*batch)
        return function(batch)

    return call


def shared_rows(shapes: Iterable[tuple[int, ...] | None]) -> int | None:
    """The leading dimension of all arrays of a batch; None where they share none.

    Numbers have none, and an array with a single row is one for every row of the others.

    Args:
        shapes: Those of the arrays; None for one that cannot be taken apart.

    Example:

    >>> shared_rows([(8, 3), (8,), (), (1, 3)]), shared_rows([(8, 3), (4,)])
    (8, None)
    """
    listed = list(shapes)
    leading = {shape[0] for shape in listed if shape} - {1}
    return leading.pop() if len(leading) == 1 and None not in listed else None


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):  # Another number of parameters, or one that none can tell.
        return False
    return True
