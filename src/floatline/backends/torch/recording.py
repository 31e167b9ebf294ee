"""Functions of a few small tensors, recorded as CUDA graphs.

A step of a loss scale is some eighty operations on single numbers. Each takes the host as long as
one on a million; a graph is launched as one: https://docs.pytorch.org/docs/stable/notes/cuda.html.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

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
    """A function that is recorded in its first call on a GPU, and replayed from then on.

    Args:
        function: A pure function of small tensors; its result is a sequence of tensors.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]]) -> None:
        self._function = function
        self._graphs: dict[Any, _Graph] = {}

    def __call__(self, *arguments: Tensor) -> Sequence[Tensor]:
        """The function's result; the next call overwrites it."""
        with torch.no_grad():
            if torch.compiler.is_compiling() or not all(each.is_cuda for each in arguments):
                return self._function(*arguments)
            kinds = tuple((each.shape, each.dtype, each.device) for each in arguments)
            if kinds not in self._graphs:
                self._graphs[kinds] = _Graph(self._function, arguments)
            return self._graphs[kinds].replay(arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Recording:
        """A copy records anew."""
        return Recording(self._function)


class _Graph:
    """A recorded call, with memory of its own for arguments and results."""

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], arguments: Sequence[Tensor]
    ) -> None:
        self._inputs = [argument.clone() for argument in arguments]
        self._graph = torch.cuda.CUDAGraph()
        self._constants = Constants()  # Kept, because the graph reads where they lie.
        stream = torch.cuda.Stream()
        with self._constants:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                function(*self._inputs)  # What is made once is made here.
            torch.cuda.current_stream().wait_stream(stream)
            # Other threads may go on using the device.
            with uncollected(), torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._outputs = function(*self._inputs)

    def replay(self, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        torch._foreach_copy_(self._inputs, list(arguments))
        self._graph.replay()
        return self._outputs


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
