"""A step that a user wrote with several parameters, as a function of one batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):  # Another number of parameters, or one that none can tell.
        return False
    return True
