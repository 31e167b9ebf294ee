"""Which layers are running: Keras' layers and PyTorch's modules, stacked as they are called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import torch

from floatline.backends.torch.frames import Surroundings
from floatline.patches import replaced


class Stack:
    """The layers that are running now, outermost first, and what stands above them."""

    def __init__(self) -> None:
        self.layers: tuple[Any, ...] = ()
        self.surroundings = Surroundings()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """While active, every call of a layer is noted."""
        # A Keras layer is a module as well, but casts its inputs before it is called as one.
        with (
            replaced(keras.Layer, "__call__", self._calling(_is_keras_layer)),
            replaced(torch.nn.Module, "__call__", self._calling(_is_plain_module)),
        ):
            yield

    def _calling(self, counts: Callable[[Any], bool]) -> Callable[..., Callable[..., Any]]:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
                before = self.layers
                if counts(layer):
                    self.layers = (*before, layer)
                try:
                    return self.surroundings.around(original, layer, *args, **kwargs)
                finally:
                    self.layers = before

            return call

        return around


def _is_keras_layer(layer: Any) -> bool:
    return isinstance(layer, keras.Layer)


def _is_plain_module(module: Any) -> bool:
    """Whether a module is a layer of its own: neither one of Keras' nor a compiled wrapper."""
    return not isinstance(module, keras.Layer) and uncompiled(module) is module


def uncompiled(module: Any) -> Any:
    """The module inside what `torch.compile` made of it."""
    return vars(module).get("_modules", {}).get("_orig_mod", module)


class Paths:
    """Paths of layers below the model, as their framework writes them.

    Args:
        root: The model that is trained, left out of paths; None for a step function.
        modules: PyTorch modules that a step function uses, by the name of its variable.
    """

    def __init__(self, root: Any, modules: Mapping[str, torch.nn.Module]) -> None:
        self._root = root
        self._names = {id(m): "" if len(modules) == 1 else name for name, m in modules.items()}
        self._known: dict[tuple[int, ...], str | None] = {}

    def of(self, layers: tuple[Any, ...]) -> str | None:
        """Path of the innermost of the layers that are running; None outside every layer."""
        key = tuple(map(id, layers))
        if key not in self._known:
            self._known[key] = self._find(layers)
        return self._known[key]

    def _find(self, layers: tuple[Any, ...]) -> str | None:
        below = layers[1:] if layers and layers[0] is self._root else layers
        named = [self._name(layers, layer) for layer in (below or layers)]
        separator = "/" if any(isinstance(layer, keras.Layer) for layer in layers) else "."
        path = separator.join(name for name in named if name)
        return path or (type(layers[-1]).__name__ if layers else None)

    def _name(self, layers: tuple[Any, ...], layer: Any) -> str:
        if isinstance(layer, keras.Layer):
            return str(layer.name)
        if id(layer) in self._names:
            return self._names[id(layer)]
        for parent in reversed(layers[: layers.index(layer)]):
            for name, module in parent.named_modules():
                if module is layer:
                    return str(name)
        return "" if layer is layers[0] else type(layer).__name__
