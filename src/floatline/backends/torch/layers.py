"""Which layers are running: a stack kept by Keras' layers and PyTorch's modules as they are called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from floatline.backends.torch.patches import replaced


class Stack:
    """The layers that are running now, outermost first."""

    def __init__(self) -> None:
        self.layers: tuple[Any, ...] = ()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """While active, every call of a layer is noted."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(replaced(keras.Layer, "__call__", self._calling_layer))
            enter = register_module_forward_pre_hook(self._entering)
            stack.callback(enter.remove)
            leave = register_module_forward_hook(self._leaving, always_call=True)
            stack.callback(leave.remove)
            yield

    def _calling_layer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            before = self.layers
            self.layers = (*before, layer)
            try:
                return original(layer, *args, **kwargs)
            finally:
                self.layers = before

        return call

    # A Keras layer is a module as well, but casts its inputs before it is called as one.

    def _entering(self, module: Any, inputs: Any) -> None:
        del inputs
        if not isinstance(module, keras.Layer):
            self.layers = (*self.layers, module)

    def _leaving(self, module: Any, inputs: Any, output: Any) -> None:
        del inputs, output
        if not isinstance(module, keras.Layer) and module in self.layers:
            last = len(self.layers) - 1 - self.layers[::-1].index(module)
            self.layers = self.layers[:last]


class Paths:
    """Paths of layers below the model, as their framework writes them.

    Args:
        root: The model that is trained, left out of paths; None for a step function.
        modules: PyTorch modules that a step function uses, by the name of its variable.
    """

    def __init__(self, root: Any, modules: dict[str, torch.nn.Module]) -> None:
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
