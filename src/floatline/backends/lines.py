"""The lines of a Python stack that tell where an operation comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from floatline.records import SourceLine
from floatline.sources import is_users

Frames = tuple[SourceLine, ...]
"""Lines of a stack, outermost first."""

OUR_OWN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
KERAS = os.path.join("keras", "src", "")
LAYER_CALL = os.path.join(KERAS, "layers", "layer.py")
PLUMBING = (
    *(os.path.join(KERAS, name) for name in ("backend", "ops", "utils", "tree")),
    LAYER_CALL,
)
"""Files of Keras through which every operation passes."""


def inside_step(frames: Sequence[SourceLine], entry: str) -> Frames:
    """What stands inside the step, which the file `entry` calls.

    What stands above the step (the user's call of `fit`, Floatline) says nothing of the operation.
    """
    below = within(tuple(frames), entry)
    return tuple(frame for frame in below if not frame.file.startswith(OUR_OWN))


def within(frames: Frames, *callers: str) -> Frames:
    """What runs below the innermost frame of the files that end so; all of it without one."""
    calls = [index for index, frame in enumerate(frames) if frame.file.endswith(callers)]
    return frames[calls[-1] + 1 :] if calls else frames


def users_line(frames: Frames) -> SourceLine | None:
    """The user's innermost line."""
    return next((frame for frame in reversed(frames) if is_users(frame.file)), None)


def library_line(frames: Frames, is_telling: Callable[[str], bool]) -> SourceLine | None:
    """The innermost telling line of a library (a layer's, a loss's) below the user's own."""
    for frame in reversed(frames):
        if is_users(frame.file):
            return None
        if is_telling(frame.file):
            return frame
    return None
