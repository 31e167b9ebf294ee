"""Runs a training step with a float32 shadow beside every operation, and measures both.

Every operation that PyTorch dispatches, forward, backward and update, passes through here: it runs
as it is, then on the shadows of its arguments, then in float32 on its own arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.utils._python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from floatline.backends.torch.contexts import Contexts
from floatline.backends.torch.lanes import (
    LOW,
    Arguments,
    Tensor,
    leaves,
    mapped,
    names_low_type,
    tensors_in,
    upcast,
)
from floatline.backends.torch.literals import numbers_among
from floatline.backends.torch.operations import (
    FOLLOWS_COMPUTED,
    READS_BITS,
    ROUNDS_ITS_LITERAL,
    Operation,
    operation,
)
from floatline.backends.torch.shadows import Shadows, covers, memory
from floatline.backends.torch.sites import Sites
from floatline.backends.torch.special import LANE_CALLS, plain

_UNFOLLOWED = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError)
"""What an operation raises that cannot run on other dtypes."""


class Tracer(TorchDispatchMode):  # type: ignore[misc] (PyTorch is not type-checked here)
    """While active, every operation runs in three lanes.

    Args:
        sites: Enters and measures what operations produce.
        contexts: Knows under which circumstances an operation runs.
    """

    def __init__(self, sites: Sites, contexts: Contexts) -> None:
        super().__init__()
        self._sites = sites
        self._contexts = contexts
        self.shadows = Shadows(self._first_sight)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs one operation in every lane; what it returns is the computed result."""
        del types
        arguments: Arguments = (tuple(args), dict(kwargs or {}))
        known = operation(function)
        self._contexts.note_node()
        if known.view and not _has_sparse(arguments):
            return self._look(known, function, arguments)
        # Casts that the user's autocast would add have been made before.
        with torch._C._DisableAutocast():  # noqa: SLF001 (a tenth of the cost of torch.autocast)
            return self._run(known, function, arguments)

    def sources(self, tensor: Tensor) -> tuple[int, ...]:
        """The sites that the values of a tensor come from."""
        slot = self.shadows.find(tensor)
        return slot.sources if slot is not None else ()

    def literal(self, make: Callable[[], Tensor], values: np.ndarray) -> Tensor:
        """Answers a call that makes a 16-bit tensor of numbers: the shadow holds them unrounded."""
        self._contexts.note_node()
        tensor = make()
        with torch.utils._python_dispatch._disable_current_modes():  # noqa: SLF001 (what is made here is ours)
            shadow = torch.as_tensor(values, dtype=torch.float32).to(tensor.device)
            shadow = shadow.expand(tensor.shape).clone()
            if bool((shadow != tensor.to(torch.float32)).any()):
                value = float(values) if values.ndim == 0 else None
                site = self._sites.constant(tensor, shadow, value, self._contexts.current())
                self.shadows.adopt(tensor, shadow, site)
        return tensor

    # The three lanes

    def _look(self, known: Operation, function: Any, arguments: Arguments) -> Any:
        self._sites.omissions.moved += 1
        if known.overload in READS_BITS and self._differs(tensors_in(arguments)):
            self._sites.omissions.add(known.title, "reads the bits of its input")
        args, kwargs = arguments
        return function(*args, **kwargs)

    def _run(self, known: Operation, function: Any, arguments: Arguments) -> Any:
        inputs = tensors_in(arguments)
        sources = self._merged_sources(inputs)
        args, kwargs = arguments
        if not self._active(inputs, arguments):
            computed = function(*args, **kwargs)
            self._enter_shared(known, arguments, inputs, computed, sources)
        elif known.random and known.name not in LANE_CALLS:
            computed = function(*args, **kwargs)
            self._enter_drawn(known, arguments, inputs, computed, sources)
        else:
            computed = self._run_lanes(known, function, arguments, inputs, sources)
        return computed

    def _run_lanes(
        self,
        known: Operation,
        function: Any,
        arguments: Arguments,
        inputs: list[Tensor],
        sources: tuple[int, ...],
    ) -> Any:
        written = _written(known, arguments)
        exact = not self._differs(inputs)
        low = any(tensor.dtype in LOW for tensor in inputs) or names_low_type(arguments)
        sources += self._literals(known, function, arguments, inputs) if low else ()
        measured = not known.moves or self._narrows(known, arguments)
        local_arguments = None
        if measured and not exact and low:
            local_arguments = self._local_arguments(known, arguments, written)
        shadow_arguments = self._shadow_arguments(known, arguments, written)
        args, kwargs = arguments
        computed = function(*args, **kwargs)
        shadow = self._lane(known, function, shadow_arguments, computed)
        if shadow is _LOST:
            self._enter_lost(known, written, inputs, computed, sources)
            return computed
        local = computed if not low else shadow
        if local_arguments is not None:
            local = self._lane(known, function, local_arguments, computed)
            local = shadow if local is _LOST else local
        self._enter_results(known, inputs, computed, shadow, local, sources, measured=measured)
        written_in = _written(known, shadow_arguments)
        alone = written if not low else written_in
        if local_arguments is not None:
            alone = _written(known, local_arguments)
        self._enter_written(known, written, written_in, alone, sources, measured=measured)
        return computed

    def _lane(self, known: Operation, function: Any, arguments: Arguments, computed: Any) -> Any:
        try:
            return LANE_CALLS.get(known.name, plain)(function, arguments, computed)
        except torch.OutOfMemoryError:
            raise
        except _UNFOLLOWED:
            return _LOST

    def _literals(
        self, known: Operation, function: Any, arguments: Arguments, inputs: list[Tensor]
    ) -> tuple[int, ...]:
        """Sites of the numbers of the code that take part in an operation of 16-bit floats."""
        numbers = numbers_among(function, arguments)
        if not numbers:
            return ()
        low = [tensor.dtype for tensor in inputs if tensor.dtype in LOW]
        dtype = low[0] if low else arguments[1].get("dtype")
        if dtype not in LOW:
            return ()
        rounded = known.name in ROUNDS_ITS_LITERAL
        context = self._contexts.current()
        return tuple(
            site
            for value in numbers
            for site in self._sites.literal(known.title, value, dtype, context, rounded=rounded)
        )

    def _shadow_arguments(
        self, known: Operation, arguments: Arguments, written: list[Tensor]
    ) -> Arguments:
        windows = {id(tensor): self.shadows.written(tensor) for tensor in written}
        follows = known.name in FOLLOWS_COMPUTED

        def shadow(tensor: Tensor) -> Tensor:
            if follows and not tensor.is_floating_point():
                return tensor
            window = windows.get(id(tensor))
            return self.shadows.read(tensor) if window is None else window

        return mapped(arguments, shadow)

    def _local_arguments(
        self, known: Operation, arguments: Arguments, written: list[Tensor]
    ) -> Arguments:
        own = {id(tensor): upcast(tensor.detach()).clone() for tensor in written}
        return mapped(arguments, lambda tensor: own.get(id(tensor), upcast(tensor.detach())))

    # What is known of tensors

    def _active(self, inputs: list[Tensor], arguments: Arguments) -> bool:
        return (
            any(tensor.dtype in LOW for tensor in inputs)
            or names_low_type(arguments)
            or self._differs(inputs)
        )

    def _differs(self, inputs: list[Tensor]) -> bool:
        return any(self.shadows.slot(tensor).differs for tensor in inputs)

    def _merged_sources(self, inputs: list[Tensor]) -> tuple[int, ...]:
        found = (source for tensor in inputs for source in self.shadows.slot(tensor).sources)
        return tuple(dict.fromkeys(found))

    def _first_sight(self, tensor: Tensor) -> tuple[int, ...]:
        return self._sites.parameter(tensor, self._contexts.current())

    def _narrows(self, known: Operation, arguments: Arguments) -> bool:
        """Whether a copy rounds: its target is a 16-bit float and its source is not."""
        if known.name != "copy":
            return False
        target, source = arguments[0][:2]
        return bool(target.dtype in LOW and source.dtype != target.dtype)

    # Entering results

    def _fresh(self, inputs: list[Tensor], result: Any) -> list[int]:
        """Positions among the results of tensors that have memory of their own."""
        before = {memory(tensor) for tensor in inputs}
        return [
            position
            for position, leaf in enumerate(leaves(result))
            if isinstance(leaf, torch.Tensor) and memory(leaf) not in before
        ]

    def _enter_shared(
        self,
        known: Operation,
        arguments: Arguments,
        inputs: list[Tensor],
        computed: Any,
        sources: tuple[int, ...],
    ) -> None:
        flat = list(leaves(computed))
        for position in self._fresh(inputs, computed):
            tensor = flat[position]
            site = sources if known.moves else self._measured(known, tensor, tensor, tensor, sources)
            self.shadows.share(tensor, site)
        for tensor in _written(known, arguments):
            site = sources if known.moves else self._measured(known, tensor, tensor, tensor, sources)
            self._overwrite(tensor, site)
        self._sites.omissions.moved += known.moves

    def _enter_drawn(
        self,
        known: Operation,
        arguments: Arguments,
        inputs: list[Tensor],
        computed: Any,
        sources: tuple[int, ...],
    ) -> None:
        """Random numbers are drawn once: every lane is given the same."""
        written = _written(known, arguments)
        targets = {id(tensor) for tensor in written}
        if self._differs([tensor for tensor in inputs if id(tensor) not in targets]):
            self._sites.omissions.add(known.title, "draws from values that differ")
        flat = list(leaves(computed))
        for position in self._fresh(inputs, computed):
            raised = upcast(flat[position])
            self.shadows.share(
                flat[position], self._measured(known, flat[position], raised, raised, sources)
            )
        for tensor in written:
            if self.shadows.slot(tensor).flat is not None:
                self.shadows.written(tensor).copy_(tensor)
            self._overwrite(tensor, sources)

    def _enter_lost(
        self,
        known: Operation,
        written: list[Tensor],
        inputs: list[Tensor],
        computed: Any,
        sources: tuple[int, ...],
    ) -> None:
        """What cannot run in float32 takes its computed values as its shadow."""
        self._sites.omissions.add(known.title, "has no float32 twin")
        flat = list(leaves(computed))
        for position in self._fresh(inputs, computed):
            raised = upcast(flat[position])
            site = self._measured(known, flat[position], raised, raised, sources)
            self.shadows.share(flat[position], site)
        for tensor in written:
            self.shadows.forget(tensor)

    def _enter_results(
        self,
        known: Operation,
        inputs: list[Tensor],
        computed: Any,
        shadow: Any,
        local: Any,
        sources: tuple[int, ...],
        *,
        measured: bool,
    ) -> None:
        flat, shadows, locals_ = (list(leaves(lane)) for lane in (computed, shadow, local))
        for position in self._fresh(inputs, computed):
            tensor, beside, alone = flat[position], shadows[position], locals_[position]
            site = sources
            if not measured or _widens(known, inputs, tensor):
                self._sites.omissions.moved += 1
            elif beside.shape == tensor.shape:
                site = self._measured(known, tensor, beside, alone, sources)
            self.shadows.adopt(tensor, beside, site)

    def _enter_written(
        self,
        known: Operation,
        written: list[Tensor],
        shadows: list[Tensor],
        locals_: list[Tensor],
        sources: tuple[int, ...],
        *,
        measured: bool,
    ) -> None:
        for tensor, shadow, local in zip(written, shadows, locals_, strict=True):
            site = self._measured(known, tensor, shadow, local, sources) if measured else sources
            self._overwrite(tensor, site)
            self._sites.omissions.moved += not measured

    def _overwrite(self, tensor: Tensor, sources: tuple[int, ...]) -> None:
        slot = self.shadows.slot(tensor)
        kept = () if covers(tensor) else slot.sources
        slot.sources = tuple(dict.fromkeys((*kept, *sources)))

    def _measured(
        self,
        known: Operation,
        tensor: Tensor,
        shadow: Tensor,
        local: Tensor,
        sources: tuple[int, ...],
    ) -> tuple[int, ...]:
        context = self._contexts.current()
        return self._sites.value(known.title, tensor, shadow, local, sources, context)


_LOST = object()
"""Stands for the result of a lane that could not run."""


def _written(known: Operation, arguments: Arguments) -> list[Tensor]:
    """The tensors that an operation writes to, among a lane's arguments."""
    if known.out_of_place:
        return []
    args, kwargs = arguments
    values = [args[p] if p < len(args) else kwargs.get(n) for p, n in zip(known.positions, known.writes, strict=True)]
    return [leaf for leaf in leaves(values) if isinstance(leaf, torch.Tensor)]


def _has_sparse(arguments: Arguments) -> bool:
    return any(tensor.layout != torch.strided for tensor in tensors_in(arguments))


def _widens(known: Operation, inputs: list[Tensor], result: Tensor) -> bool:
    """Whether an operation is a cast that rounds nothing."""
    return known.name == "_to_copy" and (
        result.dtype == inputs[0].dtype
        or (inputs[0].dtype in LOW and result.dtype in (torch.float32, torch.float64))
    )


