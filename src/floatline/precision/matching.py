"""Which rule holds for which layer of a model; unknown layers are refused with close matches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from floatline.errors import InputError
from floatline.layers import walk
from floatline.precision.plan import Plan
from floatline.precision.policies import guess
from floatline.precision.rule import Rule


@dataclass(frozen=True, slots=True)
class Place:
    """A layer of a model under its path; the model itself has the path `""`.

    Attributes:
        path: Below the model.
        layer: The layer.
        model: Name of the model, with which a path may begin: in a step function that trains
            several models, a trace tells their layers apart by it.
    """

    path: str
    layer: Any
    model: str

    @property
    def shown(self) -> str:
        """The path for people: the model's own name for the model itself."""
        return self.path or str(self.layer.name)


def places(model: Any) -> tuple[Place, ...]:
    """The model itself and every layer below it."""
    name = str(model.name)
    below = (Place(path, layer, name) for path, layer in walk(model))
    return (Place("", model, name), *below)


def assigned(plan: Plan, found: Sequence[Place]) -> tuple[Rule | None, ...]:
    """The rule that holds for each place: the last one that matches it or what it lies in."""
    direct = [[_matches(rule, place) for place in found] for rule in plan.rules]
    held: list[Rule | None] = [None] * len(found)
    for rule, matches in zip(plan.rules, direct, strict=True):
        roots = [place.path for place, match in zip(found, matches, strict=True) if match]
        for index, place in enumerate(found):
            if matches[index] or (
                rule.sublayers and any(lies_in(place.path, root) for root in roots)
            ):
                held[index] = rule
    return tuple(held)


def unmatched(plan: Plan, found: Sequence[Place]) -> tuple[Rule, ...]:
    """The rules that match no layer of the model."""
    return tuple(rule for rule in plan.rules if not any(_matches(rule, place) for place in found))


def refuse_unmatched(rules: Iterable[Rule], found: Sequence[Place]) -> None:
    """Complains about the first rule that matches nothing.

    Raises:
        InputError: There is one; the advice names paths or classes like the one it asks for.
    """
    for rule in rules:
        raise InputError(
            f"The plan has a rule for {rule.selector}, but the model has none.",
            f"{_like(rule, found)}`floatline.inspect(model)` lists every layer.",
        )


def _matches(rule: Rule, place: Place) -> bool:
    names = {place.path, place.shown}
    if rule.layer_class is not None and rule.layer_class != type(place.layer).__name__:
        return False
    if rule.path is not None:
        return lies_at(place, rule.path)
    return rule.regex is None or any(re.fullmatch(rule.regex, name) for name in names)


def lies_at(place: Place, path: str) -> bool:
    """Whether a glob over paths matches a place; the model's name may stand before a path."""
    wanted = {path, path.removeprefix(f"{place.model}/")}
    names = {place.path, place.shown}
    return any(fnmatchcase(name, pattern) for name in names for pattern in wanted)


def lies_in(path: str, root: str) -> bool:
    """Whether a path lies below another; all lie below the model itself.

    Example:

    >>> lies_in("encoder/head", "encoder"), lies_in("encoder_2", "encoder")
    (True, False)
    """
    return root == "" or path.startswith(f"{root}/")


def _like(rule: Rule, found: Sequence[Place]) -> str:
    asked = rule.path or rule.regex
    if asked is not None:
        return guess(asked, [place.shown for place in found], at_most=3)
    classes = sorted({type(place.layer).__name__ for place in found})
    return guess(rule.layer_class, classes, at_most=3)
