"""From JSON values to records, led by the records' own type hints; complaints say where."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from floatline.errors import InputError

WORDS: Mapping[str, float] = types.MappingProxyType(
    {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}
)
"""Numbers that JSON cannot write."""


def decode(kind: Any, value: Any, where: str = "the document") -> Any:
    """Reads a value of a type: records, tuples, mappings, optional and literal values.

    Keys that a record does not have are ignored; those that are missing take its default.

    Args:
        kind: A type hint.
        value: What `json.loads` gave for it.
        where: Names the value in complaints.

    Raises:
        InputError: The value is not of that type.

    Example:

    >>> decode(tuple[float | None, ...], [1, None, "NaN"])
    (1, None, nan)
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(kind, value, where)
    if origin is Literal:
        return _checked(value, value in get_args(kind), kind, where)
    if origin is tuple:
        (item, _) = get_args(kind)
        _checked(value, isinstance(value, list), "a list", where)
        return tuple(decode(item, one, f"{where}[{i}]") for i, one in enumerate(value))
    if origin is Mapping:
        return _mapping(kind, value, where)
    return _plain(kind, value, where)


def _record(kind: Any, value: Any, where: str) -> Any:
    _checked(value, isinstance(value, dict), "an object", where)
    hints = _hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            inside = f"{where}.{field.name}"
            arguments[field.name] = decode(hints[field.name], value[field.name], inside)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {field.name!r} is missing.", _ADVICE)
    return kind(**arguments)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _union(kind: Any, value: Any, where: str) -> Any:
    choices = get_args(kind)
    if value is None and type(None) in choices:
        return None
    others = [choice for choice in choices if choice is not type(None)]
    if len(others) == 1:
        return decode(others[0], value, where)
    if isinstance(value, str):
        return WORDS.get(value, value)
    return _checked(value, isinstance(value, tuple(others)), kind, where)


def _mapping(kind: Any, value: Any, where: str) -> dict[Any, Any]:
    _checked(value, isinstance(value, dict), "an object", where)
    key_kind, item_kind = get_args(kind)
    try:
        keys = [int(key) if key_kind is int else key for key in value]
    except ValueError as error:
        raise InputError(f"{where}: its keys must be whole numbers.", _ADVICE) from error
    items = [decode(item_kind, item, f"{where}.{key}") for key, item in value.items()]
    return dict(zip(keys, items, strict=True))


def _plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        if isinstance(value, str) and value in WORDS:
            return WORDS[value]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return _checked(value, number, "a number", where)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _checked(value, fits, _NAMES.get(kind, kind), where)


def _checked(value: Any, fits: bool, wanted: Any, where: str) -> Any:
    if not fits:
        raise InputError(f"{where} is {str(value)[:60]!r}, but must be {wanted}.", _ADVICE)
    return value


_NAMES = {str: "text", int: "a whole number", bool: "true or false"}
_ADVICE = "Name a file that `floatline diagnose --json FILE` or `diagnosis.save` has written."
