"""From an operation to its place: layer, phase, the user's line and the library's line."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from types import CodeType, FrameType
from typing import Any

import torch

from floatline.backends.interface import LayerSource
from floatline.backends.lines import (
    KERAS,
    LAYER_CALL,
    OUR_OWN,
    PLUMBING,
    library_line,
    users_line,
    within,
)
from floatline.backends.torch.layers import Paths
from floatline.records import Phase, Place, SourceLine

Frames = tuple[tuple[CodeType, int], ...]
"""Code and instruction of every Python function that is running, innermost first."""


@dataclass(frozen=True)
class Context:
    """The circumstances under which one operation ran.

    Attributes:
        phase: Forward, backward or update.
        layers: The layers that were running, outermost first.
        frames: The Python stack inside the step.
        forward: For a gradient operation, the circumstances of what it differentiates.
    """

    phase: Phase
    layers: tuple[Any, ...]
    frames: Frames
    forward: Context | None = None

    @cached_property
    def key(self) -> Any:
        """Tells circumstances apart for as long as one of them is kept: it names what lives."""
        frames = tuple([(id(code), instruction) for code, instruction in self.frames])
        return self.phase, tuple(map(id, self.layers)), frames

    @cached_property
    def keras_functions(self) -> tuple[str, ...]:
        """The functions of Keras' PyTorch backend that are running, innermost first."""
        return tuple([code.co_name for code, _ in self.frames if _is_backend(code.co_filename)])


def running_frames() -> Frames:
    """The Python stack inside the step that is running now.

    What stands above the step (the user's loop, Floatline) says nothing of the operation. Lines
    are looked up later: only few stacks of a step are different.
    """
    found = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the documented way to the stack; `inspect` copies it)
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        if file.startswith(OUR_OWN):
            if file == _ENTRY and code.co_name == ENTRY_NAME:
                break
        else:
            found.append((code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


class Provenance:
    """Answers where operations stand.

    Args:
        paths: Names layers.
        layer_source: The user's line that made a layer.
    """

    def __init__(self, paths: Paths, layer_source: LayerSource) -> None:
        self._paths = paths
        self._layer_source = layer_source
        self._places: dict[Any, tuple[Context, Place]] = {}
        self._last: tuple[Context, str, Place] | None = None
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[int, int], SourceLine] = {}

    def place(self, operation: str, context: Context) -> Place:
        """The place of an operation that ran under these circumstances."""
        last = self._last  # One operation may have hundreds of results.
        if last is not None and last[0] is context and last[1] == operation:
            return last[2]
        key = operation, context.key, context.forward and context.forward.key
        if key not in self._places:
            # The context is kept, too: identities in the key are those of living objects.
            self._places[key] = context, self._find(operation, context)
        place = self._places[key][1]
        self._last = context, operation, place
        return place

    def _find(self, operation: str, context: Context) -> Place:
        forward = context.forward
        layers = context.layers or (forward.layers if forward is not None else ())
        source, library = self._lines(context, layers)
        path = self._paths.of(layers)
        return Place(
            layer=path,
            operation=operation,
            name=self._unique(f"{path or context.phase}/{operation}"),
            phase=context.phase,
            source=source,
            library=library,
            layer_class=type(layers[-1]).__name__ if layers else None,
        )

    def _unique(self, name: str) -> str:
        count = self._counts[name] = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count - 1}"

    def _lines(
        self, context: Context, layers: tuple[Any, ...]
    ) -> tuple[SourceLine | None, SourceLine | None]:
        """The user's line, else the line that made the layer; and the library's line."""
        frames = self._lines_of(context.frames)
        own = frames if context.forward is None else within(frames, _ENGINE)
        differentiated = self._lines_of(context.forward.frames) if context.forward else ()
        source = users_line(within(own, *_LAYER_CALLS))
        source = source or users_line(within(differentiated, *_LAYER_CALLS))
        if source is None:
            source = next(filter(None, map(self._layer_source, reversed(layers))), None)
        source = source or users_line(own) or users_line(differentiated) or users_line(frames)
        library = library_line(own, _is_telling)
        library = library or library_line(differentiated, _is_telling)
        return source, (None if library == source else library)

    def _lines_of(self, frames: Frames) -> tuple[SourceLine, ...]:
        """The lines of a stack that is kept, outermost first."""
        return tuple([self._line_of(code, instruction) for code, instruction in reversed(frames)])

    def _line_of(self, code: CodeType, instruction: int) -> SourceLine:
        # By identity: to compare code by its content takes longer than to find the line.
        key = id(code), instruction
        if key not in self._known:
            self._known[key] = SourceLine(code.co_filename, _line(code, instruction))
        return self._known[key]


def keras_functions(context: Context) -> tuple[str, ...]:
    """The functions of Keras' PyTorch backend that ran the operation, or what it differentiates.

    Innermost first; casts and conversions, which every other function uses, are left out.
    """
    return (context.forward or context).keras_functions


@cache
def _is_backend(file: str) -> bool:
    """Whether a file of Keras' PyTorch backend computes, and does not only convert."""
    return _BACKEND in file and not file.endswith(_CONVERSIONS)


def _line(code: CodeType, instruction: int) -> int:
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return line or code.co_firstlineno
    return code.co_firstlineno


ENTRY_NAME = "enter_step"
_HERE = os.path.dirname(os.path.abspath(__file__))
_ENTRY = os.path.join(_HERE, "step.py")
"""The user's step is called by this function: everything above it led there."""

_ENGINE = os.path.join("torch", "autograd", "graph.py")
_BACKEND = os.path.join(KERAS, "backend", "torch", "")
_CONVERSIONS = ("core.py", "trainer.py", "layer.py")
_MODULE_CALL = os.path.join("torch", "nn", "modules", "module.py")
_LAYER_CALLS = (LAYER_CALL, _MODULE_CALL)
_PLUMBING = (*PLUMBING, os.path.join(KERAS, "trainers"), _MODULE_CALL)
_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_TORCH_TELLING = tuple(os.path.join(_TORCH, *parts) for parts in (("nn", "modules"), ("optim",)))


@cache
def _is_telling(file: str) -> bool:
    if file.startswith(_TORCH) and not file.startswith(_TORCH_TELLING):
        return False
    return not any(part in file for part in _PLUMBING)
