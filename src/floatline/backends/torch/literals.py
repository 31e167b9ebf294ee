"""Remembers what numbers of the code were before they became 16-bit tensors."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from floatline.backends.torch.lanes import LOW, Arguments, Tensor

MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor)
"""Functions that turn numbers into tensors; the rounding takes place before any operation."""


_OPERANDS = frozenset(["other", "value", "min", "max", "fill_value", "self", "weight"])
"""Arguments that hold an operand; PyTorch calls scale factors and exponents otherwise. As a number,
`weight` is the share of a `lerp`."""


class Literals(TorchFunctionMode):  # type: ignore[misc]  # PyTorch is not type-checked here
    """While active, calls of the makers that give 16-bit floats are answered by `answer`.

    Args:
        answer: Given the call and the numbers, returns the tensor.
    """

    def __init__(self, answer: Callable[[Callable[[], Tensor], np.ndarray], Tensor]) -> None:
        super().__init__()
        self._answer = answer

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Lets every call pass but those of the makers."""
        del types
        kwargs = kwargs or {}
        if function is torch.Tensor.__setitem__ and args[0].dtype in LOW:
            return function(*args[:2], self._as_tensor(args[0], args[2]))
        if function not in MAKERS or kwargs.get("dtype") not in LOW:
            return function(*args, **kwargs)
        values = args[0] if args else next(iter(kwargs.values()))
        if not _are_numbers(values):
            return function(*args, **kwargs)
        return self._answer(lambda: function(*args, **kwargs), np.asarray(values, np.float64))

    def _as_tensor(self, target: Tensor, value: Any) -> Any:
        """A number that is put into a 16-bit tensor, as the tensor that PyTorch makes of it."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return value
        dtype, device = target.dtype, target.device
        return self._answer(
            lambda: torch.tensor(value, dtype=dtype, device=device), np.asarray(value, np.float64)
        )


def numbers_among(function: Any, arguments: Arguments) -> list[float]:
    """The numbers of the code that an operation computes with: no sizes, axes or flags.

    Example:

    >>> numbers_among(torch.ops.aten.add.Tensor, ((torch.ones(1), 1e-8), {"alpha": 2}))
    [1e-08]
    """
    positional, named = arguments
    schema = function._schema.arguments  # noqa: SLF001 (the names of positional arguments)
    pairs = [(argument.name, value) for argument, value in zip(schema, positional, strict=False)]
    return [
        float(value)
        for name, value in (*pairs, *named.items())
        if name in _OPERANDS and isinstance(value, numbers.Real) and not isinstance(value, bool)
    ]


def _are_numbers(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "fiu"
    if isinstance(values, (list, tuple)):
        return all(map(_are_numbers, values))
    return isinstance(values, numbers.Real) and not isinstance(values, bool)
