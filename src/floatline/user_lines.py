"""Which line of the user's own code is running, and which line made each layer."""

from __future__ import annotations

import inspect
import weakref
from types import FrameType
from typing import Any

from floatline.records import SourceLine
from floatline.sources import is_users


def user_frame(frame: FrameType | None = None) -> FrameType | None:
    """The innermost frame of the user's code, from `frame` (default: the caller) outwards."""
    frame = frame or inspect.currentframe()
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def user_line() -> SourceLine | None:
    """The line of the user's code that led here, or None."""
    frame = user_frame(inspect.currentframe())
    return None if frame is None else SourceLine(frame.f_code.co_filename, frame.f_lineno)


class LayerSources:
    """The line of the user's code that made each layer, for as long as the layer lives."""

    def __init__(self) -> None:
        # By identity: a layer class of the user's may define equality without a hash.
        self._lines: dict[int, tuple[weakref.ref[Any], SourceLine]] = {}

    def record(self, layer: Any) -> None:
        """Notes that `layer` is made by the user's line that is running now."""
        line = user_line()
        if line is not None:
            self._lines[id(layer)] = (weakref.ref(layer), line)

    @property
    def known(self) -> bool:
        """Whether the user's code has made any layer."""
        return bool(self._lines)

    def __call__(self, layer: Any) -> SourceLine | None:
        """The line that made `layer`, or None."""
        reference, line = self._lines.get(id(layer), (None, None))
        return line if reference is not None and reference() is layer else None
