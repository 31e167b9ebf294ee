"""What loops, branches and calls share: their graphs, scouting them, crossing their border.

Everything that crosses the border of a nested graph is carried explicitly: the lanes of each value,
variables that the graph writes, and the statistics of the sites inside. To know beforehand what
that will be, the nested graph is first run into a scratch graph that is thrown away (`scout`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph
from tensorflow.python.framework.func_graph import FuncGraph

from floatline.backends.tensorflow.lanes import Operation, Tensor, Value
from floatline.backends.tensorflow.recorder import POOL_ELEMENTS, Census
from floatline.records import Place
from floatline.tracing.sites import Ledger

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter


@dataclass(frozen=True, slots=True)
class Scouted:
    """What a nested graph will do.

    Attributes:
        shared: For each output, whether it is the same in all lanes.
        written: Keys of the variables that are written.
        written_shared: For each of them, whether it is then the same in all lanes.
        sites: How many sites there are.
        deferred: How many of them can be measured after a loop.
    """

    shared: tuple[bool, ...]
    written: tuple[int, ...]
    written_shared: tuple[bool, ...]
    sites: int
    deferred: int


def function_graph(operation: Operation, name: str) -> Any:
    """The graph of the function that an attribute of an operation names."""
    function_name = operation.get_attr(name).name
    return named_graph(operation, function_name)


def named_graph(operation: Operation, function_name: str) -> Any:
    """The graph of a function that the graph of `operation`, or one around it, knows by name."""
    graph = _graph_that_knows(operation, function_name)
    if graph is None:
        raise KeyError(function_name)
    function = graph._get_function(function_name)  # noqa: SLF001 (no public way to a function's graph)
    known = getattr(function, "graph", None)
    if known:
        return known
    with graph.as_default():  # What the function calls is looked up there.
        return function_def_to_graph.function_def_to_graph(function.cached_definition)


def is_named_call(operation: Operation) -> bool:
    """Whether the operation's type is itself the name of a function, as TensorFlow 1 calls them."""
    return _graph_that_knows(operation, operation.type) is not None


def _graph_that_knows(operation: Operation, function_name: str) -> Any:
    graph = operation.graph
    while graph is not None and not graph._is_function(function_name):  # noqa: SLF001 (no public way to ask for a function)
        graph = getattr(graph, "outer_graph", None)
    return graph


def scout(
    frame: Interpreter,
    graph: Any,
    inputs: Sequence[Value],
    place: Place | None,
    unchanging: Collection[int] = (),
    pool_elements: int = POOL_ELEMENTS,
) -> Scouted:
    """Runs a nested graph into a scratch graph and reports what it will do.

    Args:
        frame: The interpreter of the graph that contains the loop or branch.
        graph: The nested graph.
        inputs: Values of its inputs.
        place: Place of the loop or branch.
        unchanging: For a loop body, the inputs whose uses are run outside it.
        pool_elements: What the recorder of the nested graph will pool.
    """
    flags = tuple(value.shared for value in inputs)
    signature = (id(graph), flags, frame.variables.signature(), frame.recorder is None)
    if signature in frame.setting.scouted:
        known: Scouted = frame.setting.scouted[signature][1]
        return known
    with FuncGraph("scratch").as_default(), frame.setting.omissions.paused():
        table = frame.variables.branch()
        recorder = Census(Ledger(), pool_elements) if frame.recorder is not None else None
        values = _stand_ins(graph, inputs)
        outside = frame.nested(table, None, place).run_unchanging(graph, values, unchanging)
        nested = frame.nested(table, recorder, place)
        outputs = nested.run(graph, values, graph.outputs, outside)
        written = tuple(table.written)
        result = Scouted(
            tuple(value.shared for value in outputs),
            written,
            tuple(table.at(key).shared for key in written),
            len(recorder.ledger) if recorder is not None else 0,
            len(recorder.defer()) if recorder is not None else 0,
        )
    # The graph is kept, too: another one could be given its number.
    frame.setting.scouted[signature] = graph, result
    return result


def _stand_ins(graph: Any, inputs: Sequence[Value]) -> list[Value]:
    """Placeholders for the inputs of a nested graph; resources stay what they are."""
    values = []
    for tensor, value in zip(graph.inputs, inputs, strict=True):
        if tensor.dtype == tf.resource:
            values.append(value)
        elif value.shared:
            placeholder = tf.compat.v1.placeholder(value.lead.dtype, tensor.shape)
            values.append(Value((placeholder,) * len(value.lanes)))
        else:
            lanes = [tf.compat.v1.placeholder(lane.dtype, tensor.shape) for lane in value.lanes]
            values.append(Value(tuple(lanes)))
    return values


def lower(values: Sequence[Value], together: Sequence[bool]) -> list[Tensor]:
    """The tensors that carry values: one where the lanes are one, else one per lane."""
    return [
        tensor
        for value, one in zip(values, together, strict=True)
        for tensor in (value.lanes[:1] if one else value.lanes)
    ]


def lift(
    flat: Sequence[Tensor], together: Sequence[bool], sources: Sequence[tuple[int, ...]], lanes: int
) -> list[Value]:
    """The values that `lower` made into tensors."""
    values, position = [], 0
    for one, known in zip(together, sources, strict=True):
        width = 1 if one else lanes
        tensors = tuple(flat[position : position + width])
        values.append(Value(tensors * lanes if one and lanes > 1 else tensors, known))
        position += width
    return values
