"""Checks of the settings of a loss scale: what was received, what is allowed, what to do."""

from __future__ import annotations

import math
from typing import NoReturn

from floatline.errors import InputError


def check_positive(owner: str, name: str, value: object) -> None:
    """Refuses what is not a finite number above 0."""
    if not _is_number(value) or not 0.0 < float(value) < math.inf:  # type: ignore[arg-type]  # (a number, by the first test)
        _refuse(owner, name, value, "a finite number greater than 0")


def check_bounds(owner: str, initial: float, floor: float, ceiling: float) -> None:
    """Refuses bounds that are out of order, and a start outside of them."""
    for name, value in (("initial", initial), ("floor", floor), ("ceiling", ceiling)):
        check_positive(owner, name, value)
    if not floor <= initial <= ceiling:
        _refuse(owner, "initial", initial, f"between floor={floor:g} and ceiling={ceiling:g}")


def check_above(name: str, value: float, bound: float, owner: str) -> None:
    """Refuses a factor that would not change anything, or in the wrong direction."""
    if not _is_number(value) or not bound < value < math.inf:
        _refuse(owner, name, value, f"a finite number greater than {bound:g}")


def check_share(name: str, value: float, owner: str) -> None:
    """Refuses what does not lie strictly between 0 and 1."""
    if not _is_number(value) or not 0.0 < value < 1.0:
        _refuse(owner, name, value, "a number between 0 and 1, both excluded")


def check_count(name: str, value: object, owner: str) -> None:
    """Refuses what is not an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        _refuse(owner, name, value, "an integer of at least 1")


def check_power_of_two(name: str, value: float, owner: str) -> None:
    """Refuses what float16 gradients could not be divided by without rounding."""
    if math.frexp(value)[0] != 0.5:
        _refuse(owner, name, value, "a power of two")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse(owner: str, name: str, value: object, allowed: str) -> NoReturn:
    raise InputError(
        f"{owner} received {name}={value!r}.", f"{name} must be {allowed}. Pass such a value."
    )
