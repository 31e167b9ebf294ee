"""Transitions of a few small tensors, recorded as CUDA graphs.

A step of a loss scale is some eighty operations on single numbers. Each takes the host as long as
one on a million; a graph is launched as one: https://docs.pytorch.org/docs/stable/notes/cuda.html.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope
from torch.overrides import TorchFunctionMode

from floatline.backends.torch.values import values_of, write

Tensor = Any


class Constants(TorchFunctionMode):  # type: ignore[misc]  # (PyTorch carries no type for it)
    """Makes each tensor of plain numbers once: a graph cannot hold copies from the host."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Intercepts what makes tensors of numbers."""
        kwargs = kwargs or {}
        if func not in (torch.tensor, torch.as_tensor) or isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        key = repr((args, kwargs))
        if key not in self._made:
            self._made[key] = func(*args, **kwargs)
        return self._made[key]


class Recording:
    """A transition that is recorded in its first call on a GPU, and replayed from then on.

    The graph reads and writes the variables where they lie, so that a step launches it and copies
    nothing but the arguments.

    Args:
        function: A pure function `(*arguments, *values) -> (said, *new values)` of small tensors.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]]) -> None:
        self._function = function
        self._graphs: dict[Any, _Graph] = {}

    def __call__(self, variables: Sequence[Any], *arguments: Tensor) -> Tensor:
        """Writes the new values; returns what is said, which the next call overwrites."""
        values = values_of(variables)
        with torch.no_grad():
            if not _lie_on_gpu([*values, *arguments]):
                said, *after = self._function(*arguments, *values)
                write(variables, values, after)
                return said
            places = (*map(torch.Tensor.data_ptr, values), *(a.shape for a in arguments))
            if places not in self._graphs:
                self._graphs[places] = _Graph(self._function, values, arguments)
            return self._graphs[places].replay(arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Recording:
        """A copy records anew."""
        return Recording(self._function)


def _lie_on_gpu(tensors: Sequence[Tensor]) -> bool:
    """Whether the next call finds the variables where they are now, on a GPU."""
    if torch.compiler.is_compiling() or in_stateless_scope():
        return False
    return all(tensor.is_cuda for tensor in tensors)


class _Graph:
    """A recorded call, with memory of its own for arguments and what is said."""

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        values: list[Tensor],
        arguments: Sequence[Tensor],
    ) -> None:
        self._arguments = [argument.clone() for argument in arguments]
        self._values = values  # Kept, because the graph reads and writes where they lie,
        self._constants = Constants()  # and these, too.
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        with self._constants:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                function(*self._arguments, *values)  # What is made once is made here.
            torch.cuda.current_stream().wait_stream(stream)
            # Other threads may go on using the device.
            with uncollected(), torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._said, *after = function(*self._arguments, *values)
                write(values, values, after)

    def replay(self, arguments: Sequence[Tensor]) -> Tensor:
        for place, argument in zip(self._arguments, arguments, strict=True):
            place.copy_(argument)
        self._graph.replay()
        return self._said


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """While active, Python's collector frees no graph, which would end another's recording.

    Example:

    >>> with uncollected():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
