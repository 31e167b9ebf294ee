"""Loops, branches and calls: the nested graphs of a step, run with their shadows.

A loop or branch is rebuilt with TensorFlow's own `tf.while_loop` and `tf.cond` around the
interpreter. Everything that must cross the border of the nested graph is carried explicitly: the
lanes of each value, variables that the graph writes, and the statistics of the sites inside,
which are merged over the iterations. To know beforehand what will be carried, the nested graph is
first run into a scratch graph that is thrown away (`scout`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph
from tensorflow.python.framework.func_graph import FuncGraph

from floatline.backends.tensorflow.lanes import Operation, Tensor, Value
from floatline.backends.tensorflow.operations import BRANCHES, CALLS, CASES, LOOPS, READS
from floatline.backends.tensorflow.recorder import Census, Recorder
from floatline.records import Place
from floatline.tracing.sites import Ledger
from floatline.tracing.statistics import Pack, concatenate, empty, merge

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter


@dataclass(frozen=True, slots=True)
class Scouted:
    """What a nested graph will do: outputs the same in all lanes, variables written, sites."""

    shared: tuple[bool, ...]
    written: tuple[int, ...]
    written_shared: tuple[bool, ...]
    sites: int


def function_graph(operation: Operation, name: str) -> Any:
    """The graph of the function that an attribute of an operation names."""
    function_name = operation.get_attr(name).name
    return _named_graph(operation, function_name)


def _named_graph(operation: Operation, function_name: str) -> Any:
    graph = operation.graph
    while graph is not None:
        function = graph._get_function(function_name)  # noqa: SLF001 (no public way to a function's graph)
        if function is not None:
            known = getattr(function, "graph", None)
            return known or function_def_to_graph.function_def_to_graph(function.cached_definition)
        graph = getattr(graph, "outer_graph", None)
    raise KeyError(function_name)


def scout(
    frame: Interpreter,
    graph: Any,
    inputs: Sequence[Value],
    place: Place | None,
    unchanging: Collection[int] = (),
) -> Scouted:
    """Runs a nested graph into a scratch graph and reports what it will do.

    Args:
        frame: The interpreter of the graph that contains the loop or branch.
        graph: The nested graph.
        inputs: Values of its inputs.
        place: Place of the loop or branch.
        unchanging: For a loop body, the inputs whose uses are run outside it.
    """
    flags = tuple(value.shared for value in inputs)
    signature = (id(graph), flags, frame.variables.signature(), frame.recorder is None)
    known: Scouted | None = frame.setting.scouted.get(signature)
    if known is not None:
        return known
    with FuncGraph("scratch").as_default(), frame.setting.omissions.paused():
        table = frame.variables.branch()
        recorder = Census(Ledger()) if frame.recorder is not None else None
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
        )
    frame.setting.scouted[signature] = result
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


# Calls


def _call(frame: Interpreter, operation: Operation) -> list[Value]:
    """A function call is the same as its body in its place."""
    graph = function_graph(operation, "f")
    inputs = [frame.value(tensor) for tensor in operation.inputs]
    outer, frame.outer = frame.outer, frame.place(operation)
    try:
        return frame.run(graph, inputs, graph.outputs)
    finally:
        frame.outer = outer


# Branches


def _branch(frame: Interpreter, operation: Operation) -> list[Value]:
    graphs = [function_graph(operation, name) for name in ("then_branch", "else_branch")]

    def choose(functions: Sequence[Callable[[], Any]]) -> Any:
        return tf.cond(frame.value(operation.inputs[0]).lead, functions[0], functions[1])

    return _choose_branch(frame, operation, graphs, choose)


def _case(frame: Interpreter, operation: Operation) -> list[Value]:
    names = [function.name for function in operation.get_attr("branches")]
    graphs = [_named_graph(operation, name) for name in names]

    def choose(functions: Sequence[Callable[[], Any]]) -> Any:
        return tf.switch_case(frame.value(operation.inputs[0]).lead, list(functions))

    return _choose_branch(frame, operation, graphs, choose)


def _choose_branch(
    frame: Interpreter,
    operation: Operation,
    graphs: Sequence[Any],
    choose: Callable[[Sequence[Callable[[], Any]]], Any],
) -> list[Value]:
    place = frame.place(operation)
    inputs = [frame.value(tensor) for tensor in operation.inputs[1:]]
    scouted = [scout(frame, graph, inputs, place) for graph in graphs]
    together = [all(flags) for flags in zip(*(s.shared for s in scouted), strict=True)]
    written = list(dict.fromkeys(key for s in scouted for key in s.written))
    written_together = [_stays_shared(frame, key, scouted) for key in written]
    rows = [s.sites for s in scouted]
    indices: list[int] = []
    sources: list[set[int]] = [set() for _ in range(len(together) + len(written))]

    def build(position: int) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            table = frame.variables.branch()
            recorder = frame.recorder.nested() if frame.recorder is not None else None
            nested = frame.nested(table, recorder, place)
            values = nested.run(graphs[position], inputs, graphs[position].outputs)
            values += [table.at(key) for key in written]
            for known, value in zip(sources, values, strict=True):
                known.update(value.sources)
            tensors = _lower(values, together + written_together)
            return tensors + _padded(recorder, rows, position, indices)

        return run

    flat = choose([build(position) for position in range(len(graphs))])
    flat = list(flat) if isinstance(flat, (list, tuple)) else [flat]
    lanes = len(frame.setting.lanes)
    values = _lift(flat, together + written_together, [tuple(sorted(s)) for s in sources], lanes)
    if frame.recorder is not None and any(rows):
        frame.recorder.absorb(indices, Pack(*flat[-3:]))
    for key, value in zip(written, values[len(together) :], strict=True):
        frame.variables.put(key, value)
    return values[: len(together)]


def _stays_shared(frame: Interpreter, key: int, scouted: Sequence[Scouted]) -> bool:
    """Whether a variable is the same in all lanes whichever branch is taken."""
    flags = [
        s.written_shared[s.written.index(key)]
        if key in s.written
        else frame.variables.at(key).shared
        for s in scouted
    ]
    return all(flags)


def _padded(
    recorder: Recorder | None, rows: Sequence[int], position: int, indices: list[int]
) -> list[Tensor]:
    """This branch's statistics in its place among those of all branches, which stay empty."""
    if recorder is None or not any(rows):
        return []
    sites, pack = recorder.finish()
    indices.extend(sites)
    parts = [empty(n) for n in rows]
    if pack is not None:
        parts[position] = pack
    return list(concatenate([part for part, n in zip(parts, rows, strict=True) if n]))


# Loops


def _loop(frame: Interpreter, operation: Operation) -> list[Value]:
    body, condition = function_graph(operation, "body"), function_graph(operation, "cond")
    inputs = [frame.value(tensor) for tensor in operation.inputs]
    place = frame.place(operation)
    carried = [index for index in range(len(inputs)) if not _is_invariant(body, index)]
    unchanging = set(range(len(inputs))) - set(carried) - _written_inputs(body)
    inputs, known = _settle(frame, body, inputs, carried, place, unchanging)
    loop = _Loop(frame, body, condition, inputs, carried, known, place, unchanging)
    return loop.build(operation.get_attr("parallel_iterations"))


def _is_invariant(body: Any, index: int) -> bool:
    tensor = body.outputs[index]
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor is body.inputs[index] or body.inputs[index].dtype == tf.resource


def _written_inputs(graph: Any) -> set[int]:
    """Positions of the variables that a graph may write: a nested graph may write all it gets."""
    names = {
        tensor.name
        for operation in graph.get_operations()
        if operation.type not in READS
        for tensor in operation.inputs
        if tensor.dtype == tf.resource
    }
    return {index for index, tensor in enumerate(graph.inputs) if tensor.name in names}


def _settle(
    frame: Interpreter,
    body: Any,
    inputs: list[Value],
    carried: Sequence[int],
    place: Place | None,
    unchanging: Collection[int],
) -> tuple[list[Value], Scouted]:
    """Splits the lanes of loop variables that do not stay the same in all lanes.

    What leaves the body with different lanes must enter it so; that may split further ones, so it
    is repeated until nothing changes.
    """
    while True:
        known = scout(frame, body, inputs, place, unchanging)
        split = [i for i in carried if inputs[i].shared and not known.shared[i]]
        if not split:
            return inputs, known
        inputs = [_split(value, frame) if i in split else value for i, value in enumerate(inputs)]


def _split(value: Value, frame: Interpreter) -> Value:
    lanes = [value.lead] + [tf.identity(value.lead) for _ in frame.setting.lanes[1:]]
    return Value(tuple(lanes), value.sources)


class _Loop:
    """One loop being rebuilt."""

    def __init__(
        self,
        frame: Interpreter,
        body: Any,
        condition: Any,
        inputs: list[Value],
        carried: Sequence[int],
        known: Scouted,
        place: Place | None,
        unchanging: Collection[int],
    ) -> None:
        self._frame, self._body, self._condition = frame, body, condition
        self._inputs, self._carried, self._known, self._place = inputs, carried, known, place
        self._lanes = len(frame.setting.lanes)
        self._state = [
            _split_if(frame, key, s)
            for key, s in zip(known.written, known.written_shared, strict=True)
        ]
        self._initial = [inputs[i] for i in carried] + self._state
        self._together = [value.shared for value in self._initial]
        ledger = frame.recorder.ledger if frame.recorder is not None else Ledger()
        self._ledger = ledger
        self._outside = frame.run_unchanging(body, inputs, unchanging)
        self._numbers = [ledger.carry(value.sources) for value in self._initial]
        self._indices: list[int] = []

    def build(self, parallel_iterations: int) -> list[Value]:
        flat = _lower(self._initial, self._together)
        invariants = self._invariants()
        packs = list(empty(self._known.sites)) if self._measures else []
        result = tf.while_loop(
            self._continue,
            self._step,
            flat + packs,
            shape_invariants=invariants + [pack.shape for pack in packs],
            parallel_iterations=parallel_iterations,
        )
        result = list(result)
        if self._measures and self._frame.recorder is not None:
            self._frame.recorder.absorb(self._indices, Pack(*result[-3:]))
        values = self._lifted(result)
        for key, value in zip(self._known.written, values[len(self._carried) :], strict=True):
            self._frame.variables.put(key, value)
        final = list(self._inputs)
        for index, value in zip(self._carried, values, strict=False):
            final[index] = value
        return final

    @property
    def _measures(self) -> bool:
        return self._frame.recorder is not None and self._known.sites > 0

    def _invariants(self) -> list[tf.TensorShape]:
        shapes = [self._body.inputs[i].shape for i in self._carried]
        shapes += [value.lead.shape for value in self._state]
        return [
            shape
            for shape, together in zip(shapes, self._together, strict=True)
            for _ in range(1 if together else self._lanes)
        ]

    def _lifted(self, flat: Sequence[Tensor]) -> list[Value]:
        return _lift(flat, self._together, [(number,) for number in self._numbers], self._lanes)

    def _bound(self, values: Sequence[Value]) -> list[Value]:
        inputs = list(self._inputs)
        for index, value in zip(self._carried, values, strict=False):
            inputs[index] = value
        return inputs

    def _table(self, values: Sequence[Value]) -> Any:
        table = self._frame.variables.branch()
        for key, value in zip(self._known.written, values[len(self._carried) :], strict=True):
            table.supply(key, value)
        return table

    def _continue(self, *flat: Tensor) -> Tensor:
        values = self._lifted(flat)
        nested = self._frame.nested(self._table(values), None, self._place)
        return nested.run(self._condition, self._bound(values), self._condition.outputs)[0].lead

    def _step(self, *flat: Tensor) -> list[Tensor]:
        values = self._lifted(flat)
        table = self._table(values)
        outer = self._frame.recorder
        recorder = outer.nested() if outer is not None else None
        nested = self._frame.nested(table, recorder, self._place)
        outputs = nested.run(self._body, self._bound(values), self._body.outputs, self._outside)
        after = [outputs[i] for i in self._carried] + [table.at(k) for k in self._known.written]
        for number, value in zip(self._numbers, after, strict=True):
            self._ledger.feed(number, value.sources)
        result = _lower(after, self._together)
        if recorder is None or not self._measures:
            return result
        self._indices, pack = recorder.finish()
        before = Pack(*flat[-3:])
        return result + list(before if pack is None else merge(before, pack))


def _split_if(frame: Interpreter, key: int, shared: bool) -> Value:
    value = frame.variables.at(key)
    return value if shared or not value.shared else _split(value, frame)


# Crossing the border of a nested graph


def _lower(values: Sequence[Value], together: Sequence[bool]) -> list[Tensor]:
    """The tensors that carry values: one where the lanes are one, else one per lane."""
    return [
        tensor
        for value, one in zip(values, together, strict=True)
        for tensor in (value.lanes[:1] if one else value.lanes)
    ]


def _lift(
    flat: Sequence[Tensor], together: Sequence[bool], sources: Sequence[tuple[int, ...]], lanes: int
) -> list[Value]:
    """The values that `_lower` made into tensors."""
    values, position = [], 0
    for one, known in zip(together, sources, strict=True):
        width = 1 if one else lanes
        tensors = tuple(flat[position : position + width])
        values.append(Value(tensors * lanes if one and lanes > 1 else tensors, known))
        position += width
    return values


HANDLERS: dict[str, Callable[[Interpreter, Operation], list[Value]]] = {
    **dict.fromkeys(CALLS, _call),
    **dict.fromkeys(BRANCHES, _branch),
    **dict.fromkeys(CASES, _case),
    **dict.fromkeys(LOOPS, _loop),
}
"""Operations that run another graph."""
