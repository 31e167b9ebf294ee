"""Variables as values: a traced step reads and writes them without touching the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from floatline.backends.tensorflow.lanes import Operation, Tensor, Value, upcast

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter


class VariableTable:
    """The current value of every variable, lane by lane.

    Args:
        values: Value by handle key (see `key`).
        paths: Path of each variable by handle key.
    """

    def __init__(self, values: Mapping[int, Value], paths: Mapping[int, str]) -> None:
        self._values = dict(values)
        self._paths = paths
        self.written: dict[int, None] = {}
        self.read: set[int] = set()

    @staticmethod
    def key(handle: Tensor) -> int:
        """Identity of a variable's handle."""
        return id(handle)

    def __contains__(self, handle: Tensor) -> bool:
        return self.key(handle) in self._values

    def __getitem__(self, handle: Tensor) -> Value:
        return self._values[self.key(handle)]

    def __setitem__(self, handle: Tensor, value: Value) -> None:
        self.put(self.key(handle), value)

    def put(self, key: int, value: Value) -> None:
        """Writes by handle key; what is read from now on is no parameter, but a value."""
        self._values[key] = value
        self.written[key] = None
        self.read.add(key)

    def supply(self, key: int, value: Value) -> None:
        """Replaces a value by the same value seen differently: nothing was written."""
        self._values[key] = value

    def signature(self) -> tuple[object, ...]:
        """What a nested graph's behaviour can depend on: which lanes are one, what was read."""
        shared = tuple((key, v.shared, bool(v.sources)) for key, v in self._values.items())
        return shared, frozenset(self.read)

    def at(self, key: int) -> Value:
        """Reads by handle key."""
        return self._values[key]

    def path(self, handle: Tensor) -> str | None:
        """Path of the variable behind a handle."""
        return self._paths.get(self.key(handle))

    def branch(self) -> VariableTable:
        """A copy for a nested graph: what is written there is known from its `written`."""
        copy = VariableTable(self._values, self._paths)
        copy.read = set(self.read)
        return copy


def _read(frame: Interpreter, operation: Operation) -> list[Value]:
    handle = frame.value(operation.inputs[0]).lead
    return [frame.parameter(operation, handle)]


def _assign(frame: Interpreter, operation: Operation) -> list[Value]:
    handle, value = (frame.value(tensor) for tensor in operation.inputs)
    frame.variables[handle.lead] = frame.written(operation, handle.lead, value)
    return []


def _assign_by(function: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    def handle_operation(frame: Interpreter, operation: Operation) -> list[Value]:
        handle, change = (frame.value(tensor) for tensor in operation.inputs)
        old = frame.variables[handle.lead]
        lanes = [function(a, b) for a, b in zip(old.lanes, change.lanes, strict=True)]
        local = function(upcast(old.lead), upcast(change.lead))
        frame.variables[handle.lead] = frame.updated(
            operation, handle.lead, old, change, lanes, local
        )
        return []

    return handle_operation


def _scatter_by(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Handler:
    def handle_operation(frame: Interpreter, operation: Operation) -> list[Value]:
        handle, indices, change = (frame.value(tensor) for tensor in operation.inputs)
        old = frame.variables[handle.lead]
        lanes = [
            function(a, i[..., tf.newaxis], _rows(c, i, a))
            for a, i, c in zip(old.lanes, indices.lanes, change.lanes, strict=True)
        ]
        lead = indices.lead
        raw = upcast(old.lead)
        local = function(raw, lead[..., tf.newaxis], _rows(upcast(change.lead), lead, raw))
        frame.variables[handle.lead] = frame.updated(
            operation, handle.lead, old, change, lanes, local
        )
        return []

    return handle_operation


def _rows(change: Tensor, indices: Tensor, target: Tensor) -> Tensor:
    """A scatter may be given one scalar for all rows."""
    return tf.broadcast_to(change, tf.concat([tf.shape(indices), tf.shape(target)[1:]], axis=0))


def _gather(frame: Interpreter, operation: Operation) -> list[Value]:
    handle, indices = (frame.value(tensor) for tensor in operation.inputs)
    table = frame.parameter(operation, handle.lead)
    batch_dims = operation.get_attr("batch_dims")
    if table.shared and indices.shared:
        row = tf.gather(table.lead, indices.lead, batch_dims=batch_dims)
        return [Value((row,) * len(table.lanes), table.sources + indices.sources)]
    lanes = tuple(
        tf.gather(t, i, batch_dims=batch_dims)
        for t, i in zip(table.lanes, indices.lanes, strict=True)
    )
    return [Value(lanes, table.sources + indices.sources)]


def _gather_nd(frame: Interpreter, operation: Operation) -> list[Value]:
    handle, indices = (frame.value(tensor) for tensor in operation.inputs)
    table = frame.parameter(operation, handle.lead)
    lanes = tuple(tf.gather_nd(t, i) for t, i in zip(table.lanes, indices.lanes, strict=True))
    return [Value(lanes, table.sources + indices.sources)]


def _shape(frame: Interpreter, operation: Operation) -> list[Value]:
    handle = frame.value(operation.inputs[0]).lead
    shape = tf.shape(frame.variables[handle].lead, out_type=operation.get_attr("out_type"))
    return [frame.shared(shape)]


def _initialized(frame: Interpreter, operation: Operation) -> list[Value]:
    del operation
    return [frame.shared(tf.constant(value=True))]


Handler = Callable[["Interpreter", Operation], list[Value]]

HANDLERS: dict[str, Handler] = {
    "ReadVariableOp": _read,
    "AssignVariableOp": _assign,
    "AssignAddVariableOp": _assign_by(tf.add),
    "AssignSubVariableOp": _assign_by(tf.subtract),
    "ResourceScatterAdd": _scatter_by(tf.tensor_scatter_nd_add),
    "ResourceScatterSub": _scatter_by(tf.tensor_scatter_nd_sub),
    "ResourceScatterUpdate": _scatter_by(tf.tensor_scatter_nd_update),
    "ResourceScatterMax": _scatter_by(tf.tensor_scatter_nd_max),
    "ResourceScatterMin": _scatter_by(tf.tensor_scatter_nd_min),
    "ResourceGather": _gather,
    "ResourceGatherNd": _gather_nd,
    "VariableShape": _shape,
    "VarIsInitializedOp": _initialized,
}
"""Every way of touching a variable that can be expressed on values."""


def through_the_variable(frame: Interpreter, operation: Operation) -> list[Any]:
    """Runs an operation that can only work on a real variable, and reads back what it did.

    The table's values are put into the user's variables first; the step restores them afterwards.
    The shadow of what comes out is the computed value: such an operation cannot be followed.
    """
    inputs = [frame.value(tensor) for tensor in operation.inputs]
    handles = [v.lead for v in inputs if v.lead.dtype == tf.resource and v.lead in frame.variables]
    for handle in handles:
        lead = frame.variables[handle].lead
        tf.raw_ops.AssignVariableOp(resource=handle, value=lead)
    outputs = frame.emit_lead(operation, inputs)
    for handle in handles:
        dtype = frame.variables[handle].lead.dtype
        after = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
        frame.variables[handle] = frame.taken(after)
    return [frame.taken(output) for output in outputs]
