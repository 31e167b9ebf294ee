"""Plans as JSON text: schema version 1, written in a fixed order, read with precise complaints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from floatline.errors import InputError
from floatline.precision.policies import guess
from floatline.precision.rule import Epsilon, LossScale, Rule, Setting

SCHEMA_VERSION = 1
"""Grows when a key goes or changes its meaning."""

_KEYS = ("schema_version", "rules", "loss_scale", "optimizer", "epsilons")

# In the order in which they are written. bool is an int to Python, so it is told apart below.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "path": (str,),
    "regex": (str,),
    "layer_class": (str,),
    "sublayers": (bool,),
    "policy": (str,),
    "kind": (str,),
    "settings": (dict,),
    "name": (str,),
    "value": (int, float),
    "reason": (str,),
    "evidence": (dict,),
}

_NAMES = {
    str: "text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    int: "a number",
    float: "a number",
}

Part = TypeVar("Part", Rule, LossScale, Setting, Epsilon)


def write(
    rules: Iterable[Rule],
    scale: LossScale | None,
    settings: Iterable[Setting],
    epsilons: Iterable[Epsilon],
) -> str:
    """The JSON text of a plan's parts; what has its default value is left out of them."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "rules": [_written(rule) for rule in rules],
        "loss_scale": None if scale is None else _written(scale),
        "optimizer": [_written(setting) for setting in settings],
    }
    given = [_written(epsilon) for epsilon in epsilons]
    if given:  # Left out where there are none: then a Floatline that does not know them reads it.
        document["epsilons"] = given
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read(text: str) -> dict[str, Any]:
    """The fields of a plan from its JSON text.

    Raises:
        InputError: It is no JSON, a newer schema, or no valid plan; the message says where.
    """
    document = _parsed(text)
    _check_version(document)
    _check_keys(document, _KEYS, "The plan")
    scale = document.get("loss_scale")
    return {
        "rules": tuple(_parts(Rule, document, "rules")),
        "loss_scale": None if scale is None else _part(LossScale, scale, "loss_scale"),
        "optimizer": tuple(_parts(Setting, document, "optimizer")),
        "epsilons": tuple(_parts(Epsilon, document, "epsilons")),
    }


def _written(part: Rule | LossScale | Setting | Epsilon) -> dict[str, Any]:
    defaults = {field.name: field.default for field in dataclasses.fields(part)}
    values = {name: getattr(part, name) for name in _TYPES if name in defaults}
    return {
        name: value for name, value in values.items() if value != {} and value is not defaults[name]
    }


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InputError(
            f"The plan is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.",
            "Write it with `Plan.to_json`, or mend that line.",
        ) from error
    if not isinstance(document, dict):
        raise InputError(
            f"The plan is {_name(document)}.", 'It must be an object: {"schema_version": 1, ...}.'
        )
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the text; Python would silently keep the last of two equal keys."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"The plan has the key {twice!r} twice in one object.", "Keep one.")
    return made


def _check_version(document: Mapping[str, Any]) -> None:
    version = document.get("schema_version")
    if version == SCHEMA_VERSION and not isinstance(version, bool):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"The plan has schema version {version}; this Floatline reads version "
            f"{SCHEMA_VERSION}.",
            "Update Floatline: pip install --upgrade floatline",
        )
    raise InputError(f"The plan's schema_version is {version!r}.", f"It must be {SCHEMA_VERSION}.")


def _parts(kind: type[Part], document: Mapping[str, Any], key: str) -> Iterable[Part]:
    entries = document.get(key, [])
    if not isinstance(entries, list):
        raise InputError(f"{key} of the plan is {_name(entries)}.", "It must be a list.")
    for number, entry in enumerate(entries, start=1):
        yield _part(kind, entry, f"{key}, entry {number}")


def _part(kind: type[Part], entry: Any, where: str) -> Part:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: this is {_name(entry)}.", "It must be an object.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    _check_keys(entry, tuple(fields), where)
    for name, value in entry.items():
        _check_type(name, value, where)
    for name, field in fields.items():
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if name not in entry and not optional:
            raise InputError(f"{where}: {name!r} is missing.", f"Every such entry has a {name}.")
    try:
        return kind(**entry)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.advice) from error


def _check_keys(entry: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in entry:
        if key not in known:
            raise InputError(
                f"{where} has the unknown key {key!r}.",
                f"{guess(key, known)}Known: {', '.join(known)}.",
            )


def _check_type(name: str, value: Any, where: str) -> None:
    allowed = _TYPES[name]
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise InputError(
            f"{where}: {name} is {_name(value)}, {value!r}.", f"It must be {_NAMES[allowed[0]]}."
        )


def _name(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)
