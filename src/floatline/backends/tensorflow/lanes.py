"""Values that travel in lanes: the computed tensor and, beside it, its float32 shadow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, types_pb2
from tensorflow.python.framework import ops as tf_ops

Tensor = Any
Operation = Any
"""TensorFlow ships no types."""

LOW = (tf.float16, tf.bfloat16)
_LOW_ENUMS = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
COMPUTED, SHADOW = "computed", "shadow"


class Value(NamedTuple):
    """One tensor of the step in every lane.

    Attributes:
        lanes: One tensor per lane; the same object in all of them while the lanes cannot differ.
        sources: Sites that the value comes from.
    """

    lanes: tuple[Tensor, ...]
    sources: tuple[int, ...] = ()

    @property
    def lead(self) -> Tensor:
        """The lane that decides where branches and loops go."""
        return self.lanes[0]

    @property
    def shared(self) -> bool:
        """Whether all lanes are one tensor."""
        return all(lane is self.lanes[0] for lane in self.lanes)


def shared(tensor: Tensor, lanes: int, sources: tuple[int, ...] = ()) -> Value:
    """A value that is the same in every lane."""
    return Value((tensor,) * lanes, sources)


def merge_sources(values: Sequence[Value]) -> tuple[int, ...]:
    """The sites that any of the values comes from, each once, in order."""
    return tuple(dict.fromkeys(source for value in values for source in value.sources))


def raised(dtype: tf.DType) -> tf.DType:
    """The dtype of the shadow of a tensor of `dtype`.

    Example:

    >>> raised(tf.float16), raised(tf.int32)
    (tf.float32, tf.int32)
    """
    return tf.float32 if dtype in LOW else dtype


def upcast(tensor: Tensor) -> Tensor:
    """The same values in the dtype of a shadow."""
    return tf.cast(tensor, tf.float32) if tensor.dtype in LOW else tensor


def attributes(operation: Operation) -> dict[str, attr_value_pb2.AttrValue]:
    """The attributes that make up the operation, without TensorFlow's private annotations."""
    node = operation.node_def.attr
    return {name: node[name] for name in node if not name.startswith("_")}


def names_low_type(attrs: dict[str, attr_value_pb2.AttrValue]) -> bool:
    """Whether the operation reads, writes or holds 16-bit floats."""
    return any(
        attr.type in _LOW_ENUMS or any(t in _LOW_ENUMS for t in attr.list.type)
        for attr in attrs.values()
    )


def raise_types(
    attrs: dict[str, attr_value_pb2.AttrValue],
) -> dict[str, attr_value_pb2.AttrValue]:
    """The attributes of the float32 twin: every 16-bit float type replaced by float32."""
    return {name: _raise_attribute(attr) for name, attr in attrs.items()}


def _raise_attribute(attr: attr_value_pb2.AttrValue) -> attr_value_pb2.AttrValue:
    if attr.type in _LOW_ENUMS:
        return attr_value_pb2.AttrValue(type=types_pb2.DT_FLOAT)
    if not any(t in _LOW_ENUMS for t in attr.list.type):
        return attr
    result = attr_value_pb2.AttrValue()
    result.CopyFrom(attr)
    result.list.type[:] = [types_pb2.DT_FLOAT if t in _LOW_ENUMS else t for t in attr.list.type]
    return result


def emit(
    operation: Operation,
    inputs: Sequence[Tensor],
    attrs: dict[str, attr_value_pb2.AttrValue],
) -> tuple[Tensor, ...]:
    """Adds an operation of the same type to the graph under construction; returns its outputs."""
    graph = tf_ops.get_default_graph()
    created = graph._create_op_internal(  # noqa: SLF001 (the only way to copy any operation)
        operation.type, list(inputs), attrs=attrs
    )
    for tensor, known in zip(created.outputs, operation.outputs, strict=True):
        if not tensor.shape.is_fully_defined():
            # What a list of tensors holds is known to the original alone, and loops insist on it.
            tensor.set_shape(known.shape)
    return tuple(created.outputs)
