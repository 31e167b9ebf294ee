"""Loops: rebuilt with `tf.while_loop` around the interpreter, statistics merged over iterations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from floatline.backends.tensorflow.lanes import Operation, Tensor, Value
from floatline.backends.tensorflow.nested import Scouted, function_graph, lift, lower, scout
from floatline.backends.tensorflow.operations import READS
from floatline.backends.tensorflow.recorder import LANES, Pending, Recorder, in_rows, joined
from floatline.records import Place
from floatline.tracing.sites import Ledger
from floatline.tracing.statistics import Pack, empty, merge

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter

LOOP_ELEMENTS = 1 << 15
"""Elements that an iteration leaves to be measured after the loop: statistics have a fixed cost,
and the memory (384 KiB an iteration) is bounded as long as loops are no longer than sequences."""


def loop(frame: Interpreter, operation: Operation) -> list[Value]:
    """Rebuilds a `While`."""
    body, condition = function_graph(operation, "body"), function_graph(operation, "cond")
    inputs = [frame.value(tensor) for tensor in operation.inputs]
    place = frame.place(operation)
    carried = [index for index in range(len(inputs)) if not _is_invariant(body, index)]
    unchanging = set(range(len(inputs))) - set(carried) - _written_inputs(body)
    inputs, known = _settle(frame, body, inputs, carried, place, unchanging)
    rebuilt = _Loop(frame, body, condition, inputs, carried, known, place, unchanging)
    return rebuilt.build(operation.get_attr("parallel_iterations"))


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
        known = scout(frame, body, inputs, place, unchanging, LOOP_ELEMENTS)
        split = [i for i in carried if inputs[i].shared and not known.shared[i]]
        if not split:
            return inputs, known
        inputs = [_split(value, frame) if i in split else value for i, value in enumerate(inputs)]


def _split(value: Value, frame: Interpreter) -> Value:
    lanes = [value.lead] + [tf.identity(value.lead) for _ in frame.setting.lanes[1:]]
    return Value(tuple(lanes), value.sources)


def _no_tensors() -> Tensor:
    return tf.raw_ops.EmptyTensorList(
        element_shape=tf.constant(-1), max_num_elements=-1, element_dtype=tf.float32
    )


def _end_to_end(tensors: Tensor, elements: int) -> Tensor:
    found, _ = tf.raw_ops.TensorListConcatV2(
        input_handle=tensors,
        element_dtype=tf.float32,
        element_shape=tf.constant([elements]),
        leading_dims=tf.constant([], tf.int64),
    )
    return found


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
        self._deferred: list[Pending] = []

    def build(self, parallel_iterations: int) -> list[Value]:
        flat = lower(self._initial, self._together)
        invariants = self._invariants()
        packs = list(empty(self._in_loop)) if self._in_loop else []
        lists = [_no_tensors() for _ in range(LANES)] if self._known.deferred else []
        result = tf.while_loop(
            self._continue,
            self._step,
            flat + packs + lists,
            shape_invariants=invariants + [part.shape for part in packs + lists],
            parallel_iterations=parallel_iterations,
        )
        result = list(result)
        self._take_over(result[len(flat) :])
        values = self._lifted(result)
        for key, value in zip(self._known.written, values[len(self._carried) :], strict=True):
            self._frame.variables.put(key, value)
        final = list(self._inputs)
        for index, value in zip(self._carried, values, strict=False):
            final[index] = value
        return final

    @property
    def _in_loop(self) -> int:
        """Sites that every iteration measures by itself."""
        return self._known.sites - self._known.deferred

    def _take_over(self, measurements: list[Tensor]) -> None:
        recorder = self._frame.recorder
        if recorder is None:
            return
        if self._in_loop:
            recorder.absorb(self._indices, Pack(*measurements[: len(Pack._fields)]))
        if self._deferred:
            lists = measurements[-LANES:]
            repeats = tf.raw_ops.TensorListLength(input_handle=lists[0])
            elements = sum(in_rows(pending.elements or 0) for pending in self._deferred)
            lanes = [_end_to_end(one, elements) for one in lists]
            recorder.measure_repeated(self._deferred, lanes, repeats)

    def _invariants(self) -> list[tf.TensorShape]:
        shapes = [self._body.inputs[i].shape for i in self._carried]
        shapes += [value.lead.shape for value in self._state]
        return [
            shape
            for shape, together in zip(shapes, self._together, strict=True)
            for _ in range(1 if together else self._lanes)
        ]

    def _lifted(self, flat: Sequence[Tensor]) -> list[Value]:
        return lift(flat, self._together, [(number,) for number in self._numbers], self._lanes)

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
        recorder = outer.nested(LOOP_ELEMENTS) if outer is not None else None
        nested = self._frame.nested(table, recorder, self._place)
        outputs = nested.run(self._body, self._bound(values), self._body.outputs, self._outside)
        after = [outputs[i] for i in self._carried] + [table.at(k) for k in self._known.written]
        for number, value in zip(self._numbers, after, strict=True):
            self._ledger.feed(number, value.sources)
        result = lower(after, self._together)
        return (
            result if recorder is None else result + self._measured(recorder, flat[len(result) :])
        )

    def _measured(self, recorder: Recorder, before: Sequence[Tensor]) -> list[Tensor]:
        """What is known of all iterations so far, and the tensors to be measured afterwards."""
        self._deferred = recorder.defer()
        self._indices, pack = recorder.finish()
        packs = list(before[: len(Pack._fields)]) if self._in_loop else []
        if pack is not None:
            packs = list(merge(Pack(*packs), pack))
        if not self._deferred:
            return packs
        lanes = zip(before[-LANES:], joined(self._deferred), strict=True)
        return packs + [
            tf.raw_ops.TensorListPushBack(input_handle=one, tensor=lane) for one, lane in lanes
        ]


def _split_if(frame: Interpreter, key: int, shared: bool) -> Value:
    value = frame.variables.at(key)
    return value if shared or not value.shared else _split(value, frame)
