"""Turns what operations produce into sites: described, measured, entered in order."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from floatline.backends.torch.lanes import LOW, Tensor, name_of, upcast
from floatline.backends.torch.provenance import Context, Provenance
from floatline.backends.torch.recorder import Recorder
from floatline.backends.torch.shadows import memory
from floatline.backends.torch.single_numbers import is_exact, of_literal
from floatline.formats import FORMATS
from floatline.records import Place, Role
from floatline.tracing.omissions import Omissions
from floatline.tracing.sites import Description

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


class Sites:
    """Enters sites while a step runs.

    Args:
        recorder: Measures them.
        provenance: Knows where they stand.
        variables: Path of every variable, by the memory that holds it.
    """

    def __init__(
        self, recorder: Recorder, provenance: Provenance, variables: Mapping[int, str]
    ) -> None:
        self._recorder = recorder
        self._provenance = provenance
        self._variables = variables
        self.omissions = Omissions()
        self.low: torch.dtype | None = None

    def is_low_variable(self, tensor: Tensor) -> bool:
        """Whether the memory of a tensor is a variable's in 16 bits."""
        return tensor.dtype in LOW and memory(tensor) in self._variables

    def moves_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a trained weight in 16 bits: only such a one has a gradient."""
        return self.is_low_variable(tensor) and tensor.is_leaf and tensor.grad is not None

    def input(self, tensor: Tensor, name: str) -> tuple[int, ...]:
        """Enters a batch tensor, if it holds floats."""
        if not _is_measured_float(tensor):
            return ()
        place = Place(None, "Input", name, "forward")
        raised = upcast(tensor)
        description = Description(
            place, "input", name_of(tensor.dtype), tuple(tensor.shape), variable=name
        )
        return (self._recorder.measure(description, tensor, raised, raised),)

    def parameter(self, tensor: Tensor, context: Context) -> tuple[int, ...]:
        """Enters a tensor that was there before the step, if it is a variable of floats."""
        path = self._variables.get(memory(tensor))
        if path is None or not _is_measured_float(tensor):
            return ()
        raised = upcast(tensor)
        description = self._describe("read", tensor, (), context, role="parameter", variable=path)
        return (self._recorder.measure(description, tensor, raised, raised),)

    def value(
        self,
        operation: str,
        tensor: Tensor,
        shadow: Tensor,
        local: Tensor,
        sources: tuple[int, ...],
        context: Context,
    ) -> tuple[int, ...]:
        """Enters a result; what is not measured passes its sources on.

        Complex numbers are measured as their real and imaginary parts.
        """
        if tensor.is_complex():
            tensor, shadow, local = map(_parts, (tensor, shadow, local))
        self._note_low(tensor)
        integer = tensor.dtype in _INTEGERS and shadow is not tensor
        if not (_is_measured_float(tensor) or integer):
            return sources
        variable = self._variables.get(memory(tensor))
        description = self._describe(operation, tensor, sources, context, variable=variable)
        return (self._recorder.measure(description, tensor, shadow, local),)

    def change(
        self, operation: str, change: Tensor, sources: tuple[int, ...], context: Context
    ) -> tuple[int, ...]:
        """Enters how far float32 would move a weight whose own digits may not take that in."""
        description = self._describe(f"{operation}/change", change, sources, context)
        return (self._recorder.measure(description, change, change, change),)

    def constant(
        self, tensor: Tensor, shadow: Tensor, value: float | None, context: Context
    ) -> tuple[int, ...]:
        """Enters a tensor of literals that were rounded when it was made."""
        self._note_low(tensor)
        description = self._describe("tensor", tensor, (), context, role="constant", constant=value)
        return (self._recorder.measure(description, tensor, shadow, shadow),)

    def literal(
        self, operation: str, value: float, dtype: torch.dtype, context: Context, *, rounded: bool
    ) -> tuple[int, ...]:
        """Enters a number of the code that takes part in an operation of 16-bit floats.

        Args:
            operation: The operation.
            value: The number.
            dtype: The operation's dtype.
            context: The operation's circumstances.
            rounded: Whether the number acts as if it were rounded to that dtype.
        """
        if is_exact(value, dtype):
            return ()
        name = name_of(dtype if rounded else torch.float32)
        place = self._provenance.place(f"{operation}/literal", context)
        description = Description(place, "constant", name, (), constant=value)
        return (self._recorder.enter(description, of_literal(value, name, rounded=rounded)),)

    def _describe(
        self,
        operation: str,
        tensor: Tensor,
        sources: tuple[int, ...],
        context: Context,
        *,
        role: Role = "value",
        constant: float | None = None,
        variable: str | None = None,
    ) -> Description:
        return Description(
            place=self._provenance.place(operation, context),
            role=role,
            dtype=name_of(tensor.dtype),
            shape=tuple(tensor.shape),
            sources=sources,
            constant=constant,
            variable=variable,
        )

    def _note_low(self, tensor: Tensor) -> None:
        if self.low is None and tensor.dtype in LOW:
            self.low = tensor.dtype


def _parts(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _is_measured_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and name_of(tensor.dtype) in FORMATS
