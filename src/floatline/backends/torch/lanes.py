"""Arguments of an operation in another lane: float32 in place of 16-bit floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import torch

Tensor = Any
"""PyTorch is not type-checked here: what comes from it is Any."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments of one operation."""

LOW = (torch.float16, torch.bfloat16)


def raised(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the shadow of a tensor of `dtype`.

    Example:

    >>> raised(torch.float16), raised(torch.int32)
    (torch.float32, torch.int32)
    """
    return torch.float32 if dtype in LOW else dtype


def upcast(tensor: Tensor) -> Tensor:
    """The same values in the dtype of a shadow."""
    return tensor.to(torch.float32) if tensor.dtype in LOW else tensor


@cache
def name_of(dtype: torch.dtype) -> str:
    """The name that every framework gives a dtype.

    Example:

    >>> name_of(torch.float16)
    'float16'
    """
    return str(dtype).removeprefix("torch.")


def leaves(values: Any) -> Iterator[Any]:
    """The values in a nest of lists and tuples, as operations take and return them."""
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from leaves(value)
    else:
        yield values


def tensors_in(arguments: Arguments) -> list[Tensor]:
    """Every tensor among the arguments of an operation, in order."""
    positional, named = arguments
    found: list[Tensor] = []
    _collect(positional, found)
    _collect(named.values(), found)
    return found


def _collect(values: Iterable[Any], found: list[Tensor]) -> None:
    # Not by `leaves`, which takes three times as long: every argument passes through here.
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            _collect(value, found)


def mapped(arguments: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    """The arguments in another lane: tensors changed, every 16-bit dtype raised to float32."""
    positional, named = arguments
    args = tuple(_mapped(value, change) for value in positional)
    return args, {name: _mapped(value, change) for name, value in named.items()}


def names_low_type(arguments: Arguments) -> bool:
    """Whether an operation is told to produce 16-bit floats."""
    positional, named = arguments
    return any(value in LOW for value in (*positional, *named.values()) if _is_dtype(value))


def raised_dtypes(named: Mapping[str, Any]) -> dict[str, Any]:
    """Named arguments with every 16-bit dtype raised to float32."""
    return {key: raised(value) if _is_dtype(value) else value for key, value in named.items()}


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    return raised(value) if _is_dtype(value) else value


def _is_dtype(value: Any) -> bool:
    return isinstance(value, torch.dtype)
