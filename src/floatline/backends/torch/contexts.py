"""Under which circumstances an operation runs: phase, layers, lines, and what it differentiates."""

from __future__ import annotations

from typing import Any

import torch

from floatline.backends.torch.layers import Stack
from floatline.backends.torch.observer import Observer
from floatline.backends.torch.provenance import Context
from floatline.records import Phase


class Contexts:
    """Tells the circumstances of the operation that is running.

    Autograd numbers the nodes of its graph as operations make them, so the number that is next
    tells which node the running operation has made; in the backward pass the running node says
    its number again.

    Args:
        stack: The layers that are running.
        observer: Knows whether an optimizer is at work.
    """

    def __init__(self, stack: Stack, observer: Observer) -> None:
        self._stack = stack
        self._observer = observer
        self._made: dict[int, Context] = {}
        self._next = _next_number()
        self._node: Any = None
        self._current: Context | None = None

    def note_node(self) -> None:
        """Begins with the next operation, and notes the nodes that autograd made for it."""
        self._current = None
        self._node = torch._C._current_autograd_node()  # noqa: SLF001 (PyTorch's own tools ask here)
        following = _next_number()
        if following > self._next:
            context = self.current()
            self._made.update(dict.fromkeys(range(self._next, following), context))
        self._next = following

    def current(self) -> Context:
        """The circumstances of the running operation."""
        if self._current is None:
            frames = self._stack.surroundings.frames()
            self._current = Context(
                self._phase(), self._stack.layers, frames, self._differentiated()
            )
        return self._current

    def _phase(self) -> Phase:
        if self._node is not None:
            return "backward"
        if self._observer.updating:
            return "update"
        # An update written by hand: after the gradients, outside of what is differentiated.
        by_hand = self._observer.observed.differentiated and not torch.is_grad_enabled()
        return "update" if by_hand and not self._stack.layers else "forward"

    def _differentiated(self) -> Context | None:
        if self._node is None:
            return None
        number = self._node._sequence_nr()  # noqa: SLF001 (the number has no public name)
        # What writes to a view makes a second node, after its own.
        return self._made.get(number) or self._made.get(number - 1)


def _next_number() -> int:
    return int(torch._C._autograd._get_sequence_nr())  # noqa: SLF001 (the number has no public name)
