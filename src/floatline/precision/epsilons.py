"""Gives layers the epsilons that a plan asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from floatline.errors import InputError
from floatline.layers import epsilon_name, epsilon_of
from floatline.precision.changes import EpsilonChange
from floatline.precision.matching import Place, lies_at
from floatline.precision.policies import guess
from floatline.precision.rule import Epsilon


def set_epsilons(
    epsilons: Sequence[Epsilon], found: Sequence[Place], undoing: contextlib.ExitStack
) -> tuple[EpsilonChange, ...]:
    """Sets the attribute that a layer keeps its epsilon in; of several that match, the last holds.

    A layer reads it each time its step is built, and writes it down when it is saved.

    Returns:
        What has another value now.
    """
    changes = []
    for place in found:
        name, before = epsilon_name(place.layer), epsilon_of(place.layer)
        asked = [epsilon.value for epsilon in epsilons if lies_at(place, epsilon.path)]
        if name is None or before is None or not asked or asked[-1] == before:
            continue
        undoing.callback(setattr, place.layer, name, getattr(place.layer, name))
        setattr(place.layer, name, asked[-1])
        changes.append(EpsilonChange(place.shown, before, asked[-1]))
    return tuple(changes)


def refuse_missing(epsilons: Sequence[Epsilon], found: Sequence[Place]) -> None:
    """Complains about the first epsilon that no layer takes.

    Raises:
        InputError: There is one; the advice names the layers that have an epsilon.
    """
    having = [place for place in found if epsilon_name(place.layer) is not None]
    for epsilon in epsilons:
        if any(lies_at(place, epsilon.path) for place in having):
            continue
        listed = ", ".join(place.shown for place in having) or "none"
        raise InputError(
            f"The plan gives {epsilon.path!r} the epsilon {epsilon.value:g}, but no layer there "
            "has an attribute `epsilon` or `eps` that is a number.",
            f"{guess(epsilon.path, [p.shown for p in having])}Layers with one: {listed}.",
        )
