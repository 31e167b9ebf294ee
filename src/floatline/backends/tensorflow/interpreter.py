"""Runs a graph again, operation by operation, in several lanes, and measures what it sees.

A lane is one version of every value: the computed one, in the step's own dtypes, and the float32
shadow. Beside them each operation that involves 16-bit floats runs once more in float32 on its
own computed inputs, which tells the error that it adds itself from the error it was handed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from floatline.backends.tensorflow import control_flow, counted, variables
from floatline.backends.tensorflow.lanes import (
    COMPUTED,
    LOW,
    SHADOW,
    Operation,
    Tensor,
    Value,
    attributes,
    emit,
    merge_sources,
    names_low_type,
    raise_types,
    shared,
    upcast,
)
from floatline.backends.tensorflow.observer import Observed
from floatline.backends.tensorflow.operations import (
    CHECKS,
    MOVES,
    NO_SHADOW_REASONS,
    OPAQUE,
    REPEATABLE,
    draws_random_numbers,
)
from floatline.backends.tensorflow.order import needed
from floatline.backends.tensorflow.provenance import Provenance
from floatline.backends.tensorflow.recorder import IN_PLACE, Recorder
from floatline.backends.tensorflow.variables import VariableTable
from floatline.records import Place, Role
from floatline.tracing.omissions import Omissions
from floatline.tracing.sites import Description

_FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same for every graph of one interpretation.

    Attributes:
        lanes: `("computed", "shadow")` to trace, `("shadow",)` to train in float32.
        observed: What was seen while the step was built.
        provenance: Places of operations; None when nothing is measured.
        omissions: Collects what could not be shadowed.
        scouted: Memory of `control_flow.scout`.
    """

    lanes: tuple[str, ...]
    observed: Observed
    provenance: Provenance | None
    omissions: Omissions
    scouted: dict[Any, Any]


class Interpreter:
    """One graph being run: its values, the variables, and the recorder of its sites.

    Args:
        setting: The interpretation this graph belongs to.
        variables: Current values of the variables.
        recorder: Measures the sites of this graph; None to measure nothing.
        outer: Place of the loop or branch that the graph belongs to.
    """

    def __init__(
        self,
        setting: Setting,
        variables: VariableTable,
        recorder: Recorder | None,
        outer: Place | None = None,
    ) -> None:
        self.setting = setting
        self.variables = variables
        self.recorder = recorder
        self.outer = outer
        self._values: dict[str, Value] = {}

    # Running

    def run(
        self,
        graph: Any,
        inputs: Sequence[Value],
        outputs: Sequence[Tensor],
        known: Mapping[str, Value] | None = None,
    ) -> list[Value]:
        """Runs what `outputs` and the graph's side effects need; returns the outputs' values.

        Args:
            graph: The graph to run.
            inputs: Values of the graph's inputs.
            outputs: Tensors of the graph that are wanted.
            known: Values by tensor name that need not be computed.
        """
        previous, self._values = self._values, dict(known or {})
        for tensor, value in zip(graph.inputs, inputs, strict=True):
            self._values[tensor.name] = value
        for operation in needed(graph, outputs):
            if operation.outputs and operation.outputs[0].name in self._values:
                continue
            for tensor, value in zip(operation.outputs, self._execute(operation), strict=True):
                self._values[tensor.name] = value
        result = [self.value(tensor) for tensor in outputs]
        self._values = previous
        return result

    def run_unchanging(
        self, graph: Any, inputs: Sequence[Value], unchanging: Collection[int]
    ) -> dict[str, Value]:
        """Runs what a loop body would do alike in every iteration, once, outside the loop.

        Args:
            graph: The body.
            inputs: Values of its inputs.
            unchanging: Positions of the inputs that no iteration replaces or writes to.

        Returns:
            Values by tensor name, to be handed to `run` as known.
        """
        previous, self._values = self._values, {}
        for index in unchanging:
            self._values[graph.inputs[index].name] = inputs[index]
        for operation in needed(graph, graph.outputs):
            names = [tensor.name for tensor in operation.inputs]
            ready = bool(names) and all(name in self._values for name in names)
            if ready and operation.type in REPEATABLE:
                for tensor, value in zip(operation.outputs, self._execute(operation), strict=True):
                    self._values[tensor.name] = value
        result, self._values = self._values, previous
        return result

    def value(self, tensor: Tensor) -> Value:
        """The value of a tensor of the graph being run."""
        return self._values[tensor.name]

    def nested(
        self, variables: VariableTable, recorder: Recorder | None, outer: Place | None
    ) -> Interpreter:
        """An interpreter for the body of a loop or branch."""
        return Interpreter(self.setting, variables, recorder, outer)

    def place(self, operation: Operation) -> Place | None:
        """Where an operation of this graph stands; None when nothing is measured."""
        provenance = self.setting.provenance
        return provenance.place(operation, self.outer) if provenance is not None else None

    def _execute(self, operation: Operation) -> Sequence[Value]:
        if operation.type == "Const":
            return [self._constant(operation)]
        handler = control_flow.handler(operation)
        if handler is None and self.setting.lanes[0] == COMPUTED:
            handler = counted.HANDLERS.get(operation.type)
        if handler is not None:
            return handler(self, operation)
        if any(tensor.dtype == tf.resource for tensor in operation.inputs):
            return self._touch(operation)
        return self._compute(operation)

    def _touch(self, operation: Operation) -> Sequence[Value]:
        known = self.value(operation.inputs[0]).lead in self.variables
        handler = variables.HANDLERS.get(operation.type)
        if handler is not None and known:
            return handler(self, operation)
        self._omit(operation, IN_PLACE)
        return variables.through_the_variable(self, operation)

    # Making values

    def shared(self, tensor: Tensor) -> Value:
        """A value that is the same in every lane."""
        return shared(tensor, len(self.setting.lanes))

    def taken(self, tensor: Tensor, sources: tuple[int, ...] = ()) -> Value:
        """A value whose shadow is the computed value itself."""
        lanes = tuple(tensor if lane == COMPUTED else upcast(tensor) for lane in self.setting.lanes)
        return Value(lanes, sources)

    def emit_lead(self, operation: Operation, inputs: Sequence[Value]) -> tuple[Tensor, ...]:
        """Runs an operation as it stands, on the leading lane cast to the dtypes it expects."""
        tensors = [
            tf.cast(value.lead, tensor.dtype) if value.lead.dtype != tensor.dtype else value.lead
            for value, tensor in zip(inputs, operation.inputs, strict=True)
        ]
        return emit(operation, tensors, attributes(operation))

    def _constant(self, operation: Operation) -> Value:
        (computed,) = emit(operation, [], attributes(operation))
        if computed.dtype not in LOW:
            return self.shared(computed)
        literal = self.setting.observed.literals.get(operation)
        if literal is None:
            return self.taken(computed)
        shadow = tf.broadcast_to(tf.constant(literal, tf.float32), computed.shape)
        lanes = tuple(computed if lane == COMPUTED else shadow for lane in self.setting.lanes)
        scalar = float(literal) if literal.ndim == 0 else None
        if _is_exact(literal, computed.dtype):
            return Value(lanes)
        return self.measured(operation, 0, Value(lanes), shadow, role="constant", constant=scalar)

    def parameter(self, operation: Operation, handle: Tensor) -> Value:
        """The value of a variable; measured where it is read for the first time."""
        value = self.variables[handle]
        key = self.variables.key(handle)
        if key in self.variables.read or value.lead.dtype not in _FLOATS:
            return value
        self.variables.read.add(key)
        path = self.variables.path(handle)
        measured = self.measured(
            operation, None, value, upcast(value.lead), role="parameter", variable=path
        )
        self.variables.supply(key, measured)
        return measured

    def updated(
        self,
        operation: Operation,
        handle: Tensor,
        old: Value,
        change: Value,
        lanes: Sequence[Tensor],
        local: Tensor,
    ) -> Value:
        """The new value of a variable, measured as a site of its own."""
        value = Value(tuple(lanes), merge_sources([old, change]))
        if value.lead.dtype not in _FLOATS:
            return value
        path = self.variables.path(handle)
        return self.measured(operation, None, value, local, variable=path)

    def written(self, operation: Operation, handle: Tensor, value: Value) -> Value:
        """What a variable is set to: a site where it is half precision, which may hold it still."""
        if value.lead.dtype not in LOW:
            return value
        path = self.variables.path(handle)
        return self.measured(operation, None, value, upcast(value.lead), variable=path)

    # Computing

    def _compute(self, operation: Operation) -> Sequence[Value]:
        inputs = [self.value(tensor) for tensor in operation.inputs]
        if operation.type in CHECKS:
            self.setting.omissions.moved += self.recorder is not None
            return inputs[: len(operation.outputs)]
        attrs = attributes(operation)
        low = names_low_type(attrs)
        if draws_random_numbers(operation.type) or operation.type in OPAQUE:
            return self._take(operation, inputs, low=low)
        if not operation.outputs and self.setting.lanes[0] == SHADOW:
            return []
        with tf.control_dependencies(self.recorder.barrier if self.recorder else []):
            outputs, shadows = self._run_lanes(operation, inputs, attrs, low=low)
        sources = merge_sources(inputs)
        values = [Value(lanes, sources) for lanes in zip(*outputs, strict=True)]
        if self.recorder is None:
            return values
        if operation.type in MOVES or _widens(operation):
            self.setting.omissions.moved += 1
            return values
        locals_ = self._run_local(operation, inputs, attrs, shadows) if low else None
        literal = _rounded_literal(operation)
        return [
            self.measured(
                operation,
                index,
                value,
                locals_[index] if locals_ else value.lead,
                role="value" if literal is None else "constant",
                constant=literal,
            )
            for index, value in enumerate(values)
        ]

    def _take(self, operation: Operation, inputs: Sequence[Value], *, low: bool) -> list[Value]:
        # A draw that reads no differing values loses nothing; all else loses its shadow here.
        differing = not all(value.shared for value in inputs)
        if differing or (low and operation.type in OPAQUE):
            reason = NO_SHADOW_REASONS.get(operation.type, "has no float32 twin")
            self._omit(operation, reason)
        outputs = self.emit_lead(operation, inputs)
        values = [self.taken(tensor, merge_sources(inputs)) for tensor in outputs]
        return [
            self.measured(operation, index, value, upcast(value.lead))
            for index, value in enumerate(values)
        ]

    def _run_lanes(
        self, operation: Operation, inputs: Sequence[Value], attrs: Any, *, low: bool
    ) -> tuple[list[tuple[Tensor, ...]], tuple[Tensor, ...]]:
        """Outputs per lane, and those of the shadow lane."""
        if not low and all(value.shared for value in inputs):
            outputs = emit(operation, [value.lead for value in inputs], attrs)
            return [outputs] * len(self.setting.lanes), outputs
        twin = raise_types(attrs) if low else attrs
        results = []
        for position, lane in enumerate(self.setting.lanes):
            tensors = [value.lanes[position] for value in inputs]
            results.append(emit(operation, tensors, attrs if lane == COMPUTED else twin))
        return results, results[-1]

    def _run_local(
        self, operation: Operation, inputs: Sequence[Value], attrs: Any, shadows: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...] | None:
        """The operation in float32 on its computed inputs; None where it cannot be repeated."""
        if any(value.lead.dtype == tf.variant for value in inputs):
            return None
        if all(value.shared for value in inputs):
            return shadows
        return emit(operation, [upcast(value.lead) for value in inputs], raise_types(attrs))

    # Measuring

    def measured(
        self,
        operation: Operation,
        index: int | None,
        value: Value,
        local: Tensor,
        *,
        role: Role = "value",
        constant: float | None = None,
        variable: str | None = None,
    ) -> Value:
        """Has a value measured and returns it with the new site as its only source."""
        provenance = self.setting.provenance
        dtype = value.lead.dtype
        integer = dtype in _INTEGERS and not value.shared
        if self.recorder is None or provenance is None or not (dtype in _FLOATS or integer):
            return value
        shape = operation.outputs[index].shape if index is not None else value.lead.shape
        description = Description(
            place=provenance.place(operation, self.outer),
            role=role,
            dtype=dtype.name,
            shape=_listed(shape),
            sources=value.sources,
            constant=constant,
            variable=variable,
        )
        site = self.recorder.measure(description, value.lead, value.lanes[-1], local)
        return Value(value.lanes, (site,))

    def input(self, tensor: Tensor, name: str, place: Place) -> Value:
        """A batch tensor as a value; measured as a site when it holds floats."""
        value = self.taken(tensor)
        if self.recorder is None or tensor.dtype not in _FLOATS:
            return value
        shape = _listed(tensor.shape)
        description = Description(place, "input", tensor.dtype.name, shape, variable=name)
        site = self.recorder.measure(description, tensor, value.lanes[-1], upcast(tensor))
        return Value(value.lanes, (site,))

    def _omit(self, operation: Operation, reason: str) -> None:
        self.setting.omissions.add(operation.type, reason)


def _listed(shape: tf.TensorShape) -> tuple[int | None, ...] | None:
    return tuple(shape.as_list()) if shape.rank is not None else None


def _rounded_literal(operation: Operation) -> float | None:
    """The value of a scalar literal that the operation casts to a 16-bit float."""
    if operation.type != "Cast" or operation.outputs[0].dtype not in LOW:
        return None
    source = operation.inputs[0].op
    if source.type != "Const" or operation.inputs[0].shape.rank != 0:
        return None
    return float(tf.get_static_value(operation.inputs[0]))


def _widens(operation: Operation) -> bool:
    """Whether the operation casts 16-bit floats to wider ones, which rounds nothing."""
    return (
        operation.type == "Cast"
        and operation.inputs[0].dtype in LOW
        and operation.outputs[0].dtype in (tf.float32, tf.float64)
    )


def _is_exact(literal: np.ndarray, dtype: tf.DType) -> bool:
    """Whether rounding to `dtype` changes nothing."""
    with np.errstate(over="ignore"):
        return bool(np.all(literal.astype(dtype.as_numpy_dtype).astype(np.float64) == literal))
