"""From an operation of a jaxpr to its place: layer, phase, the user's line and the library's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from floatline.backends.interface import LayerSource
from floatline.backends.jax.jaxprs import is_backward, layer_numbers, scopes, user_scopes
from floatline.backends.jax.lanes import Stage
from floatline.backends.lines import (
    LAYER_CALL,
    PLUMBING,
    inside_step,
    library_line,
    users_line,
    within,
)
from floatline.backends.paths import path_of
from floatline.records import Phase, Place, SourceLine


class Provenance:
    """Answers where an operation of the observed step comes from.

    Args:
        layers: The Keras layers of the step by the number of their name scope.
        layer_source: Where a layer was made.
        root: The model that is trained: left out of layer paths. None for a step function.
        owners: The layer of each variable, by its path.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        layer_source: LayerSource,
        root: Any | None,
        owners: Mapping[str, str | None],
    ) -> None:
        self._layers = layers
        self._layer_source = layer_source
        self._root = root
        self._owners = owners
        self._places: dict[Any, Place] = {}
        self._names: Counter[str] = Counter()

    def place(self, equation: Any, outer: tuple[Any, ...], stack: str, stage: Stage) -> Place:
        """The place of an operation.

        Args:
            equation: The operation.
            outer: The operations around the function that it belongs to, outermost first.
            stack: Name scopes of those operations.
            stage: How far the step is.
        """
        key = (id(equation), tuple(map(id, outer)), stage)
        if key not in self._places:
            self._places[key] = self._find(equation, outer, f"{stack}/{scopes(equation)}", stage)
        return self._places[key]

    def parameter(self, path: str) -> Place:
        """The place of a variable: the layer that owns it."""
        owner = None
        for layer in self._layers:  # Outer layers come first, so that the innermost one is left.
            if any(str(variable.path) == path for variable in layer.variables):
                owner = layer
        return Place(
            layer=self._owners.get(path),
            operation="Parameter",
            name=path,
            phase="forward",
            source=None if owner is None else self._layer_source(owner),
            layer_class=None if owner is None else type(owner).__name__,
        )

    def _find(self, equation: Any, outer: tuple[Any, ...], stack: str, stage: Stage) -> Place:
        layers = [self._layers[number] for number in layer_numbers(stack)]
        path = path_of(layers, self._root) or user_scopes(stack)
        operation = equation.primitive.name
        source, library = self._lines([*outer, equation], layers)
        return Place(
            layer=path,
            operation=operation,
            name=self._named("/".join(filter(None, (path, operation)))),
            phase=_phase(stack, stage),
            source=source,
            library=library,
            layer_class=type(layers[-1]).__name__ if layers else None,
        )

    def _named(self, name: str) -> str:
        self._names[name] += 1
        count = self._names[name]
        return name if count == 1 else f"{name}_{count - 1}"

    def _lines(
        self, equations: Sequence[Any], layers: Sequence[Any]
    ) -> tuple[SourceLine | None, SourceLine | None]:
        """The user's line, else the line that made the layer; and the library's line."""
        # JAX's stack of an operation inside a function begins with that function.
        frames = [_frames(equation) for equation in equations]
        in_layer = (users_line(within(some, LAYER_CALL)) for some in reversed(frames))
        source = next(filter(None, in_layer), None)
        if source is None:
            source = next(filter(None, map(self._layer_source, reversed(layers))), None)
        if source is None:
            source = next(filter(None, map(users_line, reversed(frames))), None)
        named = (library_line(some, _is_telling) for some in reversed(frames))
        library = next(filter(None, named), None)
        return source, (None if library == source else library)


def _phase(stack: str, stage: Stage) -> Phase:
    if stage == Stage.UPDATE:
        return "update"
    return "backward" if stage == Stage.BACKWARD or is_backward(stack) else "forward"


def _frames(equation: Any) -> tuple[SourceLine, ...]:
    """The Python stack inside the step that made an operation, outermost first."""
    traceback = equation.source_info.traceback
    raw = traceback.frames if traceback is not None else ()
    frames = [SourceLine(f.file_name, f.line_num) for f in reversed(raw)]
    return inside_step(frames, _ENTRY)


_ENTRY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "builder.py")
"""The user's step is called from this file: everything above it led there."""

_PLUMBING = (*PLUMBING, os.path.join("jax", "_src", ""))


@cache
def _is_telling(file: str) -> bool:
    return not any(folder in file for folder in _PLUMBING)
