"""Replaces methods of Keras classes for a while, and always puts the originals back."""

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
    owner = next(base for base in cls.__mro__ if name in vars(base))
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
