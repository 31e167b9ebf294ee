"""One call of an operation: its arguments, what it writes to, and which values feed its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from floatline.backends.torch.lanes import (
    LOW,
    Arguments,
    Tensor,
    leaves,
    names_low_type,
    tensors_in,
)
from floatline.backends.torch.operations import FROM_SHAPES, Operation, operation
from floatline.backends.torch.shadows import memory


@dataclass(frozen=True, slots=True)
class Call:
    """An operation about to run.

    Attributes:
        function: The operation, an `OpOverload`.
        known: What is known of it.
        arguments: Its arguments.
        inputs: Every tensor among them.
        written: Those that it writes to.
        low: Whether it reads, writes or is asked for 16-bit floats.
    """

    function: Any
    known: Operation
    arguments: Arguments
    inputs: tuple[Tensor, ...]
    written: tuple[Tensor, ...]
    low: bool
    _before: frozenset[int] = field(repr=False)

    @property
    def title(self) -> str:
        """The operation's name; `torch.square` is a power to PyTorch, and has its name back."""
        args, _ = self.arguments
        squares = self.known.name == "pow" and len(args) > 1 and _is_two(args[1])
        return "square" if squares else self.known.title

    def run(self) -> Any:
        """Runs the operation as it is."""
        args, kwargs = self.arguments
        return self.function(*args, **kwargs)

    def fresh(self, result: Any) -> list[tuple[int, Tensor]]:
        """The tensors of a result that have memory of their own, with their positions."""
        return [
            (position, leaf)
            for position, leaf in enumerate(leaves(result))
            if isinstance(leaf, torch.Tensor) and memory(leaf) not in self._before
        ]

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn."""
        if self.known.chance is None:
            return self.known.random
        (position, name), (args, kwargs) = self.known.chance, self.arguments
        share = args[position] if position < len(args) else kwargs.get(name, 0.0)
        return self.known.random and share != 0.0

    @property
    def widens(self) -> bool:
        """Whether it is a cast or copy that rounds nothing."""
        args, kwargs = self.arguments
        if self.known.name == "copy":
            target, source = args[0].dtype, args[1].dtype
        elif self.known.name == "_to_copy":
            target, source = kwargs.get("dtype") or args[0].dtype, args[0].dtype
        else:
            return False
        wide = target in (torch.float32, torch.float64)
        return bool(target == source or (source in LOW and wide))


def call_of(function: Any, arguments: Arguments) -> Call:
    """Describes a call before it runs."""
    known = operation(function)
    inputs = tuple(tensors_in(arguments))
    low = any(tensor.dtype in LOW for tensor in inputs) or names_low_type(arguments)
    before = frozenset(map(memory, inputs))
    return Call(
        function, known, arguments, inputs, tuple(written_in(known, arguments)), low, before
    )


def written_in(known: Operation, arguments: Arguments) -> list[Tensor]:
    """The tensors that an operation writes to, among the arguments of a lane."""
    if not known.writes:
        return []
    args, kwargs = arguments
    values = [
        args[position] if position < len(args) else kwargs.get(name)
        for position, name in zip(known.positions, known.writes, strict=True)
    ]
    return [leaf for leaf in leaves(values) if isinstance(leaf, torch.Tensor)]


class Feed:
    """The sites that feed each result of a call.

    An operation on lists of tensors is many operations in one: what it does to the n-th of a list
    depends on the n-th of the others.

    Args:
        call: The call.
        sources: The sites that the values of a tensor come from.
        numbers: Sites of the numbers of the code that take part.
    """

    def __init__(
        self,
        call: Call,
        sources: Callable[[Tensor], tuple[int, ...]],
        numbers: tuple[int, ...] = (),
    ) -> None:
        self._of, self._numbers = sources, numbers
        positional, named = call.arguments
        values = [*positional, *named.values()]
        self._lists = [value for value in values if _is_list(value)] if call.known.listwise else []
        self._single = [value for value in values if isinstance(value, torch.Tensor)]
        targets = {id(t) for t in call.written} if call.known.overwrites else set()
        read = [tensor for tensor in call.inputs if id(tensor) not in targets]
        self._all = self._merged(() if call.known.name in FROM_SHAPES else read)
        self._positions = {id(t): n for tensors in self._lists for n, t in enumerate(tensors)}

    def result(self, position: int) -> tuple[int, ...]:
        """The sites that feed the result at a position."""
        if not self._lists:
            return self._all
        elements = [tensors[position] for tensors in self._lists if position < len(tensors)]
        return self._merged([*elements, *self._single])

    def written(self, tensor: Tensor) -> tuple[int, ...]:
        """The sites that feed what is written to a tensor."""
        position = self._positions.get(id(tensor))
        return self._all if position is None else self.result(position)

    def _merged(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        found = (source for tensor in tensors for source in self._of(tensor))
        return (*dict.fromkeys(found), *self._numbers)


def _is_two(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == 2


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value)
