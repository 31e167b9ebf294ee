"""Counts the operations of a step's graph by reading TensorFlow's own serialized form of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph

from floatline.backends.tensorflow.operations import CHECKS, MOVES
from floatline.backends.tensorflow.program import StepGraph

FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
LOW = FLOATS[:2]
BODIES = {
    "While": ("body",),
    "StatelessWhile": ("body",),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
}
"""Nested graphs that are measured; the condition of a loop is run, but not measured."""

ENTERING = ("Const", "Placeholder", "ReadVariableOp", "ResourceGather")
"""What brings values in: literals, inputs and variables, which have sites of other roles."""

UPDATES = (
    "AssignAddVariableOp",
    "AssignSubVariableOp",
    "ResourceScatterAdd",
    "ResourceScatterSub",
)


@dataclass
class Count:
    """How often each operation should be seen.

    Attributes:
        computing: Float outputs by name of the operation that computes them.
        moved: Operations that only move values.
        types: Every type seen.
    """

    computing: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    types: set[str] = field(default_factory=set)


def count(step: StepGraph) -> Count:
    """What a trace of this step must account for."""
    definition = step.graph.as_graph_def()
    library = {function.signature.name: function for function in definition.library.function}
    result = Count()
    wanted = step.losses + [gradient for gradient, _ in step.gradients]
    for operation in all_needed(step.graph, wanted, library):
        result.types.add(operation.type)
        if operation.type in MOVES | CHECKS or widens(operation):
            result.moved += 1
        else:
            result.computing.update({operation.name: computed(operation)})
    result.computing = +result.computing
    return result


def computed(operation: Any) -> int:
    """How many float values an operation computes."""
    if operation.type in UPDATES:
        return int(operation.inputs[-1].dtype in FLOATS)
    if operation.type == "AssignVariableOp":
        return int(operation.inputs[-1].dtype in LOW)
    if operation.type in BODIES or operation.type in ENTERING:
        return 0
    return sum(tensor.dtype in FLOATS for tensor in operation.outputs)


def widens(operation: Any) -> bool:
    """Whether the operation casts 16-bit floats to wider ones."""
    return (
        operation.type == "Cast"
        and operation.inputs[0].dtype in LOW
        and operation.outputs[0].dtype in FLOATS[2:]
    )


def all_needed(graph: Any, outputs: Sequence[Any], library: dict[str, Any]) -> Iterator[Any]:
    """Operations that outputs and side effects need, those of nested graphs among them."""
    reached: dict[str, Any] = {}
    waiting = [tensor.op for tensor in outputs] + list(graph.control_outputs)
    while waiting:
        operation = waiting.pop()
        if operation.name not in reached:
            reached[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    for operation in reached.values():
        yield operation
        for attribute in BODIES.get(operation.type, ()):
            name = operation.node_def.attr[attribute].func.name
            nested = function_def_to_graph.function_def_to_graph(library[name])
            yield from all_needed(nested, nested.outputs, library)
