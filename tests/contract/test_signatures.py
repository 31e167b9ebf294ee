"""Every backend has exactly the methods that the seam promises, with the same signatures."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from floatline.backends import interface
from floatline.pipeline import BACKENDS


def methods(owner: type) -> dict[str, list[tuple[str, Any, Any]]]:
    """Public methods in the order of their definition, each with its parameters."""
    return {
        name: [
            (parameter.name, parameter.kind, parameter.default)
            for parameter in inspect.signature(member).parameters.values()
        ]
        for name, member in vars(owner).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


def breaches(owner: type, promise: type, *, extra: tuple[str, ...] = ()) -> Iterator[str]:
    """How a class departs from the protocol that it is to fulfil."""
    found, promised = methods(owner), methods(promise)
    order = [name for name in found if name in promised]
    yield from (f"{owner.__name__} lacks {name}" for name in promised if name not in found)
    yield from (
        f"{owner.__name__}.{name} is not in the seam"
        for name in found
        if name not in promised and name not in extra
    )
    yield from (
        f"{owner.__name__}.{name} takes {found[name]}, promised is {promised[name]}"
        for name in order
        if found[name] != promised[name]
    )
    if order != [name for name in promised if name in found]:
        yield f"{owner.__name__} defines {order} in another order than the seam"


def load(name: str) -> Any:
    module, _, attribute = BACKENDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_what_the_seam_promises(name: str) -> None:
    backend = load(name)
    assert list(breaches(backend, interface.Backend)) == []
    assert backend().name == name


@pytest.mark.parametrize("name", BACKENDS)
def test_the_step_of_a_backend_is_what_the_seam_promises(name: str) -> None:
    step = load(name)().function_step(lambda batch: None, lambda layer: None)
    # For the tests, which compare variables; no stage knows of it.
    assert list(breaches(type(step), interface.Step, extra=("traced_state",))) == []


class Good:
    def advance(self, batch: interface.Batch) -> interface.Outcome:
        raise NotImplementedError


class WithoutIt:
    def _advance(self, batch: Any) -> None: ...


class OtherName:
    def advance(self, data: Any) -> None: ...


class Keyword:
    def advance(self, *, batch: Any) -> None: ...


class Optional:
    def advance(self, batch: Any = None) -> None: ...


class More:
    def advance(self, batch: Any) -> None: ...
    def retreat(self) -> None: ...


class Ordered:
    def one(self) -> None: ...
    def two(self) -> None: ...


class Disordered:
    def two(self) -> None: ...
    def one(self) -> None: ...


def test_a_class_that_keeps_the_promise_has_no_breach() -> None:
    assert list(breaches(Good, interface.Replay)) == []


@pytest.mark.parametrize(
    ("bad", "promise", "complaint"),
    [
        (WithoutIt, interface.Replay, "WithoutIt lacks advance"),
        (OtherName, interface.Replay, "OtherName.advance takes"),
        (Keyword, interface.Replay, "Keyword.advance takes"),
        (Optional, interface.Replay, "Optional.advance takes"),
        (More, interface.Replay, "More.retreat is not in the seam"),
        (Disordered, Ordered, "in another order"),
    ],
)
def test_the_guard_can_fail(bad: type, promise: type, complaint: str) -> None:
    (found,) = breaches(bad, promise)
    assert complaint in found
