"""From an operation to its place: layer, phase, the user's line and the library's line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from types import CodeType
from typing import Any

import torch

from floatline.backends.interface import LayerSource
from floatline.backends.lines import (
    KERAS,
    LAYER_CALL,
    PLUMBING,
    library_line,
    users_line,
    within,
)
from floatline.backends.torch.frames import Frames
from floatline.backends.torch.layers import Paths
from floatline.records import Phase, Place, SourceLine


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
        return self.phase, tuple(map(id, self.layers)), self.frames.key

    @cached_property
    def keras_functions(self) -> tuple[str, ...]:
        """The functions of Keras' PyTorch backend that are running, innermost first."""
        return tuple([code.co_name for code in self.frames.codes if _is_backend(code.co_filename)])


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
        self._tellings: dict[Any, tuple[Frames, _Told]] = {}
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
        forward = context.forward
        own = self._told(context.frames, inside_engine=forward is not None)
        differentiated = None if forward is None else self._told(forward.frames)
        told = [own] if differentiated is None else [own, differentiated]
        source = _first(stack.in_layer for stack in told)
        source = source or _first(map(self._layer_source, reversed(layers)))
        source = source or _first(stack.users for stack in told) or own.outside
        library = _first(stack.library for stack in told)
        return source, (None if library == source else library)

    def _told(self, frames: Frames, *, inside_engine: bool = False) -> _Told:
        """What a stack says, which it says for every layer that computes in the same way."""
        key = frames.key, inside_engine
        if key not in self._tellings:
            lines = tuple(map(self._line_of, reversed(frames.codes), _instructions(frames)))
            own = within(lines, _ENGINE) if inside_engine else lines
            told = _Told(
                in_layer=users_line(within(own, *_LAYER_CALLS)),
                users=users_line(own),
                library=library_line(own, _is_telling),
                outside=users_line(lines),
            )
            # The stack is kept, too: identities in the key are those of living code.
            self._tellings[key] = frames, told
        return self._tellings[key][1]

    def _line_of(self, code: CodeType, instruction: int) -> SourceLine:
        key = id(code), instruction
        if key not in self._known:
            self._known[key] = SourceLine(code.co_filename, _line(code, instruction))
        return self._known[key]


@dataclass(frozen=True, slots=True)
class _Told:
    """The lines that a stack is asked for.

    Attributes:
        in_layer: The user's innermost line, inside of the innermost layer.
        users: The user's innermost line, in a backward pass inside of it.
        library: The library's innermost telling line below the user's.
        outside: The user's innermost line, wherever.
    """

    in_layer: SourceLine | None
    users: SourceLine | None
    library: SourceLine | None
    outside: SourceLine | None


def _instructions(frames: Frames) -> Iterator[int]:
    """The instructions of a stack, outermost first."""
    return reversed(frames.key[1::2])


def _first(lines: Iterable[SourceLine | None]) -> SourceLine | None:
    return next(filter(None, lines), None)


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
