"""The Python stack under which an operation runs, taken down as cheaply as may be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from floatline.backends.lines import OUR_OWN


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Every Python function that is running inside the step, innermost first.

    Lines are looked up later: only few stacks of a step are different.

    Attributes:
        codes: Their code.
        key: Identity of each code, and its instruction. It tells stacks apart for as long as one
            of them is kept: to compare code by its content takes longer than to find the line.
    """

    codes: tuple[CodeType, ...]
    key: tuple[int, ...]


class Surroundings:
    """Remembers what stands above a call of a layer, for every operation below it."""

    def __init__(self) -> None:
        self._above: Frames | None = None

    def around(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function; what stands above this call cannot change before it returns."""
        before, self._above = self._above, None
        try:
            return function(*args, **kwargs)
        finally:
            self._above = before

    def frames(self) -> Frames:
        """The Python stack inside the step that is running now.

        What stands above the step (the user's loop, Floatline) says nothing of the operation.
        """
        codes: list[CodeType] = []
        key: list[int] = []
        edge = None  # How many frames stand below the innermost call that is remembered.
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the documented way to the stack; `inspect` copies it)
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(OUR_OWN):
                if code is _AROUND and edge is None:
                    edge = len(codes)
                    if self._above is not None:
                        return Frames((*codes, *self._above.codes), (*key, *self._above.key))
                elif code.co_name == ENTRY_NAME and code.co_filename == _ENTRY:
                    break
            else:
                codes.append(code)
                key += id(code), frame.f_lasti
            frame = frame.f_back
        if edge is not None:
            self._above = Frames(tuple(codes[edge:]), tuple(key[2 * edge :]))
        return Frames(tuple(codes), tuple(key))


_AROUND = Surroundings.around.__code__

ENTRY_NAME = "enter_step"
_ENTRY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "step.py")
"""The user's step is called by this function: everything above it led there."""
