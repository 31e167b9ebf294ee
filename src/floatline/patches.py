"""Replaces methods and functions for a while, and always puts the originals back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def wrapped(cls: type, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """While active, `around(original, self, *args, **kwargs)` runs in place of a method.

    The method is replaced on the class that defines it, so subclasses that override it and call
    `super()` come through here too.

    Args:
        cls: Where the method is looked up.
        name: Name of the method.
        around: Called with the original method first.
    """
    unwrap = wrap(cls, name, around)
    try:
        yield
    finally:
        unwrap()


def wrap(cls: type, name: str, around: Callable[..., Any]) -> Callable[[], None]:
    """Does the same without an end: until the function that is returned is called.

    When somebody has wrapped the method again meanwhile, theirs stays and ours lets calls pass.
    """
    owner = definer(cls, name)
    before = vars(owner)[name]
    original = before.__func__ if isinstance(before, staticmethod) else before
    active = True

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs) if active else original(*args, **kwargs)

    installed = staticmethod(replacement) if name == "__new__" else replacement
    setattr(owner, name, installed)

    def unwrap() -> None:
        nonlocal active
        active = False
        if vars(owner)[name] is installed:
            setattr(owner, name, before)

    return unwrap


@contextmanager
def replaced(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> Iterator[None]:
    """While active, `owner.name` is `wrapper` of what it was.

    Args:
        owner: The class or module that defines the name itself.
        name: Name of the method or function.
        wrapper: Given the original; returns what stands in for it.
    """
    original = vars(owner)[name]
    setattr(owner, name, wrapper(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def definer(cls: type, name: str) -> type:
    """The class from which `cls` has a method."""
    return next(base for base in cls.__mro__ if name in vars(base))


def definers(base: type, name: str) -> list[type]:
    """The classes around `base`, inherited and derived, that define a method themselves.

    A subclass that overrides a method need not call its parent's, so whoever wants to see every
    call stands in for all of them.

    Example:

    >>> class Parent:
    ...     def act(self) -> None: ...
    >>> class Child(Parent):
    ...     def act(self) -> None: ...
    >>> class Grandchild(Child): ...
    >>> definers(Parent, "act") == [Parent, Child]
    True
    """
    classes = dict.fromkeys(base.__mro__)
    waiting = [base]
    while waiting:
        derived: list[type] = waiting.pop().__subclasses__()
        classes.update(dict.fromkeys(derived))
        waiting += derived
    return [owner for owner in classes if name in vars(owner)]
