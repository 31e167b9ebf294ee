"""The variables that a function shares with the code around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import CellType
from typing import Any


@contextmanager
def lent_variables(
    function: Callable[..., Any] | None, lender: Callable[..., Any]
) -> Iterator[None]:
    """While active, the variables of a function are those of another one of the same code.

    A function inside of another is made anew whenever that one runs, as when it trains the next
    epoch. Only one of them is watched, and it is that one which the next epoch's variables need.

    Example:

    >>> def epoch(total):
    ...     def add(x):
    ...         nonlocal total
    ...         total += x
    ...     return add, lambda: total
    >>> (first, first_total), (second, second_total) = epoch(0), epoch(10)
    >>> with lent_variables(first, second):
    ...     first(1)
    >>> first_total(), second_total()
    (11, 11)
    """
    cells, lent = _cells(function), _cells(lender)
    if function is lender or len(cells) != len(lent):
        yield
        return
    _copy(lent, cells)
    try:
        yield
    finally:
        _copy(cells, lent)


def variables_of(function: Callable[..., Any]) -> dict[str, Any]:
    """What the names stand for that a function takes from around it, as far as they do already.

    Example:

    >>> sorted(variables_of(lent_variables.__wrapped__))
    ['_cells', '_copy']
    """
    plain = inspect.unwrap(getattr(function, "__func__", function))
    code, space = plain.__code__, plain.__globals__
    named = {name: space[name] for name in code.co_names if name in space}
    return {**named, **dict(_assigned(code.co_freevars, _cells(plain)))}


def _assigned(names: Sequence[str], cells: Sequence[CellType]) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(names, cells, strict=True):
        with suppress(ValueError):  # Not assigned yet.
            yield name, cell.cell_contents


def _cells(function: Any) -> Sequence[CellType]:
    return getattr(function, "__closure__", None) or ()


def _copy(cells: Sequence[CellType], others: Sequence[CellType]) -> None:
    for cell, other in zip(cells, others, strict=True):
        try:
            other.cell_contents = cell.cell_contents
        except ValueError:  # Not assigned yet.
            del other.cell_contents
