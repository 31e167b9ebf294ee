"""From a graph operation to its place: layer, phase, the user's line and the library's line."""

from __future__ import annotations

import os
from functools import cache

import keras

from floatline.backends.interface import LayerSource
from floatline.backends.lines import (
    LAYER_CALL,
    PLUMBING,
    inside_step,
    library_line,
    users_line,
    within,
)
from floatline.backends.paths import path_of
from floatline.backends.tensorflow.observer import Context, Observed, Operation
from floatline.records import Place, SourceLine


class Provenance:
    """Answers where an operation of the observed step comes from.

    Args:
        observed: What was seen while the step was built.
        layer_source: Where a layer was made.
        root: The model that is trained: left out of layer paths. None for a step function.
    """

    def __init__(
        self, observed: Observed, layer_source: LayerSource, root: keras.Layer | None = None
    ) -> None:
        self._contexts = observed.contexts
        self._by_name = {op.name: context for op, context in observed.contexts.items()}
        self._layer_source = layer_source
        self._root = root
        self._places: dict[tuple[Operation, Place | None], Place] = {}

    def place(self, operation: Operation, outer: Place | None = None) -> Place:
        """The place of `operation`; `outer` is that of the loop or branch it stands in."""
        key = operation, outer
        if key not in self._places:
            self._places[key] = self._find(operation, outer)
        return self._places[key]

    def _find(self, operation: Operation, outer: Place | None) -> Place:
        context = self._context(operation)
        forward = context.forward if context else None
        layers = context.layers if context else ()
        if not layers and forward is not None:
            layers = self._layers_of(forward)
        if not layers and context is not None and context.phase == "backward":
            layers = self._layers_of_inputs(operation)
        source, library = self._lines(operation, forward, layers)
        return Place(
            layer=path_of(layers, self._root) or (outer.layer if outer else None),
            operation=operation.type,
            name=operation.name,
            phase=context.phase if context else (outer.phase if outer else "forward"),
            source=source or (outer.source if outer else None),
            library=library,
            layer_class=(type(layers[-1]).__name__ if layers else None)
            or (outer.layer_class if outer else None),
        )

    def _context(self, operation: Operation) -> Context | None:
        # Functions that TensorFlow rebuilt from their definition keep names, not objects.
        return self._contexts.get(operation) or self._by_name.get(operation.name)

    def _layers_of(self, operation: Operation) -> tuple[keras.Layer, ...]:
        context = self._context(operation)
        return context.layers if context else ()

    def _layers_of_inputs(self, operation: Operation) -> tuple[keras.Layer, ...]:
        """Layers of what a sum of gradients adds up: TensorFlow makes it outside every op."""
        for tensor in operation.inputs:
            context = self._context(tensor.op)
            if context is not None and context.forward is not None:
                return self._layers_of(context.forward)
        return ()

    def _lines(
        self, operation: Operation, forward: Operation | None, layers: tuple[keras.Layer, ...]
    ) -> tuple[SourceLine | None, SourceLine | None]:
        """The user's line, else the line that made the layer; and the library's line."""
        frames = _frames(operation)
        own = within(frames, _TAPE) if forward is not None else frames
        differentiated = _frames(forward) if forward is not None else ()
        source = users_line(within(own, LAYER_CALL))
        source = source or users_line(within(differentiated, LAYER_CALL))
        if source is None:
            source = next(filter(None, map(self._layer_source, reversed(layers))), None)
        source = source or users_line(own) or users_line(differentiated) or users_line(frames)
        library = library_line(frames, _is_telling)
        if library is None and forward is not None:
            library = library_line(_frames(forward), _is_telling)
        return source, (None if library == source else library)


def _frames(operation: Operation) -> tuple[SourceLine, ...]:
    """The Python stack inside the step that created an operation, outermost first."""
    frames = [SourceLine(f.filename, f.lineno) for f in operation.traceback or ()]
    return inside_step(frames, _ENTRY)


_ENTRY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "step.py")
"""The user's step is called from this file: everything above it led there."""

_TAPE = os.path.join("tensorflow", "python", "eager", "backprop.py")
_PLUMBING = (*PLUMBING, os.path.join("tensorflow", "python", ""))


@cache
def _is_telling(file: str) -> bool:
    return not any(folder in file for folder in _PLUMBING)
