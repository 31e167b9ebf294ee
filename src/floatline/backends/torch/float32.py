"""The same training in float32: every operation of the step raised, on values of its own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from floatline.backends import policies
from floatline.backends.interface import Batch, Outcome
from floatline.backends.torch.lanes import LOW, Arguments, Tensor, mapped, tensors_in, upcast
from floatline.backends.torch.literals import Literals
from floatline.backends.torch.memory import with_memory
from floatline.backends.torch.operations import operation
from floatline.backends.torch.program import followed
from floatline.backends.torch.reach import layers_in, scale_tensors
from floatline.backends.torch.special import in_float32
from floatline.backends.torch.state import State
from floatline.patches import replaced

if TYPE_CHECKING:
    from floatline.backends.torch.step import TorchStep


class Raised(TorchDispatchMode):  # type: ignore[misc]  # PyTorch is not type-checked here
    """While active, what would be made as a 16-bit float is made as float32.

    Attributes:
        low: The first 16-bit dtype that was asked for; None when none was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.low: torch.dtype | None = None

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs one operation with every 16-bit dtype replaced."""
        del types
        arguments: Arguments = (tuple(args), dict(kwargs or {}))
        self._note(arguments)
        known = operation(function)
        written = [t for t in tensors_in(arguments) if t.dtype in LOW] if known.writes else []
        with torch._C._DisableAutocast():  # noqa: SLF001 (a tenth of the cost of torch.autocast)
            copies = {id(tensor): upcast(tensor) for tensor in written}
            args, kwargs = mapped(arguments, lambda t: copies.get(id(t), upcast(t)))
            result = in_float32(known.name, function, (args, kwargs))
            for tensor in written:
                tensor.copy_(copies[id(tensor)])
        return upcast(result) if isinstance(result, torch.Tensor) else result

    def literal(self, make: Callable[[], Tensor], values: Any) -> Tensor:
        """Answers a call that makes a 16-bit tensor of numbers."""
        like = make()
        return torch.as_tensor(values, dtype=torch.float32, device=like.device).expand(like.shape)

    def _note(self, arguments: Arguments) -> None:
        if self.low is None:
            dtypes = [t.dtype for t in tensors_in(arguments)] + list(arguments[1].values())
            self.low = next((d for d in dtypes if isinstance(d, torch.dtype) and d in LOW), None)


class Float32Replay:
    """A training in float32 beside the user's: its values are put in only while it runs.

    Args:
        step: The user's step.
        state: A snapshot to start from.
        rounded: Round the weights through the step's low format first.
        rebuilt: Let every layer follow the float32 policy, and autocast nothing.
    """

    def __init__(self, step: TorchStep, state: State, *, rounded: bool, rebuilt: bool) -> None:
        self._step = step
        self._state = state
        self._rounded = rounded
        self._rebuilt = rebuilt
        self._begun = False

    def advance(self, batch: Batch) -> Outcome:
        """Runs the next step in float32."""
        return with_memory(lambda: self._advance(batch))

    def _advance(self, batch: Batch) -> Outcome:
        step, mode = self._step, Raised()
        kept = step.keeper.snapshot()
        try:
            step.keeper.restore(self._state)
            if not self._begun:
                self._raise_weights()
            with contextlib.ExitStack() as stack:
                stack.enter_context(followed())
                if self._rebuilt:
                    stack.enter_context(_as_if_float32(layers_in(step.keeper.reached())))
                stack.enter_context(Literals(mode.literal))
                stack.enter_context(mode)
                _, outcome = step.run(keras.tree.map_structure(_raised_leaf, batch))
            self._state = self._without_scale(step.keeper.snapshot())
            self._begun = True
        finally:
            step.keeper.restore(kept)
        step.low = step.low or mode.low
        return dataclasses.replace(outcome, loss_scale=None, applied=True)

    def _raise_weights(self) -> None:
        for kept in self._state.tensors.values():
            tensor = kept.tensor
            if tensor.dtype in LOW:
                tensor.grad = None
                tensor.data = tensor.data.to(torch.float32)
            rounds = self._rounded and tensor.is_leaf and tensor.requires_grad
            if rounds and self._step.low is not None and tensor.dtype == torch.float32:
                tensor.data = tensor.data.to(self._step.low).to(torch.float32)

    def _without_scale(self, state: State) -> State:
        """Float32 needs no loss scale, so one that would run away must not spoil it."""
        before = self._state.tensors
        scales = {id(tensor) for tensor in scale_tensors(self._step.keeper.reached())}
        kept = {key: before[key] for key in scales if key in before}
        return dataclasses.replace(state, tensors={**state.tensors, **kept})


def _raised_leaf(leaf: Any) -> Any:
    return upcast(leaf) if isinstance(leaf, torch.Tensor) else leaf


@contextlib.contextmanager
def _as_if_float32(layers: Iterable[keras.Layer]) -> Iterator[None]:
    """While active, the layers follow the float32 policy and autocast regions do nothing."""

    def disabled(original: Any) -> Any:
        def initialize(autocast: Any, *args: Any, **kwargs: Any) -> None:
            original(autocast, *args, **kwargs)
            autocast._enabled = False  # noqa: SLF001 (an argument may hold it in several places)

        return initialize

    with policies.in_float32(layers), replaced(torch.autocast, "__init__", disabled):
        yield
