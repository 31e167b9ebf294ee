"""Numbers in the graph of a functional model, between its layers: `x / (y + 1e-8)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from floatline.findings.configured.setup import LayerSetup, NumberUse, Role
from floatline.formats import LOW_FORMATS
from floatline.layers import is_container
from floatline.precision.forward import dtype_of
from floatline.precision.matching import places
from floatline.precision.reading.kinds import Value, of_object, written
from floatline.records import SourceLine

_ROLES: Mapping[str, Role] = {
    "Add": "added",
    "Subtract": "added",
    "Multiply": "factor",
    "Divide": "divisor",
    "TrueDivide": "divisor",
    "Maximum": "lower bound",
    "Minimum": "upper bound",
    "Where": "selected",
}
"""What a number does in an operation of Keras', by the operation's class."""


def operations(model: Any, line: Any) -> Iterator[LayerSetup]:
    """The operations between layers that take a fixed number and a tensor in half precision.

    Args:
        model: A Keras model; one without a graph has none.
        line: Tells the user's line that made an operation.
    """
    for place in places(model):
        if not is_container(place.layer):
            continue
        prefix = f"{place.path}/" if place.path else ""
        for operation in getattr(place.layer, "operations", ()):
            if not isinstance(operation, keras.Layer):
                yield from _setup(operation, f"{prefix}{operation.name}", line(operation))


def _setup(operation: Any, path: str, source: SourceLine | None) -> Iterator[LayerSetup]:
    name = type(operation).__name__
    arguments = operation._inbound_nodes[0].arguments  # noqa: SLF001 (Keras shows them nowhere)
    given = [*arguments.args, *arguments.kwargs.values()]
    dtypes = {dtype_of(one) for one in given if isinstance(one, keras.KerasTensor)}
    low = dtypes & set(LOW_FORMATS)
    if not low or not dtypes <= {*low, "bool"}:
        return
    numbers = tuple(
        NumberUse(value.text, value.number, role, source, rounded=_rounded(role))
        for value, role in _numbers(operation, name, given)
        if value.number is not None
    )
    if numbers:
        yield LayerSetup(path, name, low.pop(), source, numbers=numbers)


def _numbers(operation: Any, name: str, given: list[Any]) -> Iterator[tuple[Value, Role]]:
    if name == "Clip":
        yield _number(operation.x_min), "lower bound"
        yield _number(operation.x_max), "upper bound"
        return
    role = _ROLES.get(name)
    if role is None or (role == "divisor" and isinstance(given[-1], keras.KerasTensor)):
        return
    for one in given:
        if not isinstance(one, keras.KerasTensor):
            yield _number(one), role


def _number(thing: Any) -> Value:
    return of_object(thing, written(thing))


def _rounded(role: Role) -> bool:
    # PyTorch multiplies and divides by a number of Python's in float32.
    return keras.backend.backend() != "torch" or role not in ("factor", "divisor")
