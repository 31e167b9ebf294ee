"""Runs a training step with a float32 shadow beside every operation, and measures both.

Every operation that PyTorch dispatches, forward, backward and update, passes through here: it runs
as it is, then on the shadows of its arguments, then in float32 on its own arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from floatline.backends.torch.calls import Call, Feed, call_of, written_in
from floatline.backends.torch.contexts import Contexts
from floatline.backends.torch.lanes import LOW, Arguments, Tensor, mapped, tensors_in, upcast
from floatline.backends.torch.literals import numbers_among
from floatline.backends.torch.memory import ran_short
from floatline.backends.torch.operations import (
    FOLLOWS_COMPUTED,
    READS_BITS,
    ROUNDS_ITS_LITERAL,
    Operation,
    operation,
)
from floatline.backends.torch.products import multiplied, needed
from floatline.backends.torch.results import Results
from floatline.backends.torch.shadows import Shadows
from floatline.backends.torch.sites import Sites
from floatline.backends.torch.special import LANE_CALLS, plain
from floatline.backends.torch.widening import Widening

_UNFOLLOWED = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError)
"""What an operation raises that cannot run on other dtypes."""

_LOST = object()
"""Stands for the result of a lane that could not run."""


class Tracer(TorchDispatchMode):  # type: ignore[misc]  # PyTorch is not type-checked here
    """While active, every operation runs in three lanes.

    Args:
        sites: Enters and measures what operations produce.
        contexts: Knows under which circumstances an operation runs.
    """

    def __init__(self, sites: Sites, contexts: Contexts) -> None:
        super().__init__()
        self._sites = sites
        self._contexts = contexts
        self.shadows = Shadows(lambda tensor: sites.parameter(tensor, contexts.current()))
        self._results = Results(self.shadows, sites, contexts)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs one operation in every lane; what it returns is the computed result."""
        del types
        self._contexts.note_node()
        arguments = tuple(args), dict(kwargs or {})
        # What the user's modes and autocast would change has been changed before.
        with torch._C.DisableTorchFunction(), torch._C._DisableAutocast():  # noqa: SLF001 (a tenth of the cost of torch.autocast)
            known = operation(function)
            if known.view and all(t.layout == torch.strided for t in tensors_in(arguments)):
                return self._look(function, known, arguments)
            return self._run(call_of(function, arguments))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Says no to PyTorch: no traced step is compiled, and every call would pass the guard."""
        return False

    def sources(self, tensor: Tensor) -> tuple[int, ...]:
        """The sites that the values of a tensor come from."""
        slot = self.shadows.find(tensor)
        return slot.sources if slot is not None else ()

    @property
    def widening(self) -> Widening:
        """What was computed in float32 because of the device."""
        return self._results.widening

    def literal(self, make: Callable[[], Tensor], values: np.ndarray) -> Tensor:
        """Answers a call that makes a 16-bit tensor of numbers: the shadow holds them unrounded."""
        tensor = make()
        with _disable_current_modes():
            # Compared on the host: nobody has to wait for a GPU.
            exact = torch.as_tensor(values, dtype=torch.float32, device="cpu")
            if not torch.equal(exact, upcast(exact.to(tensor.dtype))):
                shadow = exact.to(tensor.device, non_blocking=True).expand(tensor.shape).clone()
                value = float(values) if values.ndim == 0 else None
                site = self._sites.constant(tensor, shadow, value, self._contexts.current())
                self.shadows.adopt(tensor, shadow, site)
        return tensor

    def _look(self, function: Any, known: Operation, arguments: Arguments) -> Any:
        """A view needs nothing: its shadow is the same window on other memory."""
        self._sites.omissions.moved += 1
        if known.overload in READS_BITS and self._differs(call_of(function, arguments)):
            self._sites.omissions.add(known.title, "reads the bits of its input")
        positional, named = arguments
        return function(*positional, **named)

    def _run(self, call: Call) -> Any:
        differs = self._differs(call)
        if call.low or differs:
            drawn = call.draws and call.known.name not in LANE_CALLS
            return self._draw(call) if drawn else self._run_lanes(call, exact=not differs)
        feed = Feed(call, self._known_sources)
        computed = call.run()
        self._results.shared(call, feed, computed)
        return computed

    def _draw(self, call: Call) -> Any:
        feed = Feed(call, self._known_sources)
        targets = set(map(id, call.written))
        read = [tensor for tensor in call.inputs if id(tensor) not in targets]
        if any(self.shadows.slot(tensor).differs for tensor in read):
            self._sites.omissions.add(call.known.title, "draws from values that differ")
        computed = call.run()
        self._results.drawn(call, feed, computed)
        return computed

    def _run_lanes(self, call: Call, *, exact: bool) -> Any:
        """Runs computed, shadow and local lane.

        Where the lanes do not differ yet, the shadow lane is the local one; where nothing is in
        16 bits, the computed lane is.
        """
        feed = Feed(call, self._known_sources, self._literals(call))
        measured = self._tells(call)
        apart = measured and call.low and not exact
        alone = self._local_arguments(call) if apart else None
        beside = self._shadow_arguments(call)
        before = self._results.before(call, written_in(call.known, beside))
        computed = call.run()
        shadow = self._lane(call, beside, computed, own=exact)
        if shadow is _LOST:
            self._results.lost(call, feed, computed)
            return computed
        local = shadow if call.low else computed
        if alone is not None:
            local = self._lane(call, alone, computed, own=True)
            alone, local = (beside, shadow) if local is _LOST else (alone, local)
        self._results.made(call, feed, (computed, shadow, local), measured=measured)
        if call.written:
            same = beside if call.low else call.arguments
            self._results.written(
                call,
                feed,
                written_in(call.known, beside),
                written_in(call.known, same if alone is None else alone),
                before,
                measured=measured,
            )
        return computed

    def _lane(self, call: Call, arguments: Arguments, computed: Any, *, own: bool) -> Any:
        run = LANE_CALLS.get(call.known.name, plain)
        try:
            with multiplied(needed(call, own=own)):
                return run(call.function, arguments, computed)
        except _UNFOLLOWED as error:
            if ran_short(error):
                raise
            return _LOST

    def _shadow_arguments(self, call: Call) -> Arguments:
        windows = {id(tensor): self.shadows.written(tensor) for tensor in call.written}
        follows = call.known.name in FOLLOWS_COMPUTED

        def shadow(tensor: Tensor) -> Tensor:
            if follows and not tensor.is_floating_point():
                return tensor
            window = windows.get(id(tensor))
            return self.shadows.read(tensor) if window is None else window

        return mapped(call.arguments, shadow)

    def _local_arguments(self, call: Call) -> Arguments:
        own = {id(tensor): upcast(tensor).clone() for tensor in call.written}
        return mapped(call.arguments, lambda t: own[id(t)] if id(t) in own else upcast(t))

    def _literals(self, call: Call) -> tuple[int, ...]:
        """Sites of the numbers of the code that take part in an operation of 16-bit floats."""
        numbers = numbers_among(call.function, call.arguments) if call.low else []
        dtypes = [tensor.dtype for tensor in call.inputs] + [call.arguments[1].get("dtype")]
        dtype = next((dtype for dtype in dtypes if dtype in LOW), None)
        if not numbers or dtype is None:
            return ()
        rounded = call.known.name in ROUNDS_ITS_LITERAL
        title, context = call.known.title, self._contexts.current()
        return tuple(
            site
            for value in numbers
            for site in self._sites.literal(title, value, dtype, context, rounded=rounded)
        )

    def _tells(self, call: Call) -> bool:
        """Whether results are measured: values that are only moved need not be.

        What a variable in 16 bits is set to is: it may hold the variable still.
        """
        if call.known.name == "copy" and self._sites.is_low_variable(call.written[0]):
            return True
        return not ((call.known.moves and not self._narrows(call)) or call.widens)

    def _narrows(self, call: Call) -> bool:
        """Whether a copy rounds: its target is a 16-bit float and its source is not."""
        return call.known.name == "copy" and not call.widens

    def _differs(self, call: Call) -> bool:
        # Every slot is looked up, also after the first that differs: a parameter is entered here.
        slots = [self.shadows.slot(tensor) for tensor in call.inputs]
        return any(slot.differs for slot in slots)

    def _known_sources(self, tensor: Tensor) -> tuple[int, ...]:
        return self.shadows.slot(tensor).sources
