"""Calls and branches: run in place, or rebuilt with `tf.cond` around the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from floatline.backends.tensorflow.lanes import Operation, Tensor, Value
from floatline.backends.tensorflow.nested import (
    Scouted,
    function_graph,
    lift,
    lower,
    named_graph,
    scout,
)
from floatline.backends.tensorflow.recorder import Recorder
from floatline.tracing.statistics import Pack, concatenate, empty

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter


def call(frame: Interpreter, operation: Operation) -> list[Value]:
    """A function call is the same as its body in its place."""
    return _run_in_place(frame, operation, function_graph(operation, "f"))


def named_call(frame: Interpreter, operation: Operation) -> list[Value]:
    """A call whose type is the function's name; the loops of `tf.nn.ctc_loss` hold such."""
    return _run_in_place(frame, operation, named_graph(operation, operation.type))


def _run_in_place(frame: Interpreter, operation: Operation, graph: Any) -> list[Value]:
    inputs = [frame.value(tensor) for tensor in operation.inputs]
    outer, frame.outer = frame.outer, frame.place(operation)
    try:
        return frame.run(graph, inputs, graph.outputs)
    finally:
        frame.outer = outer


def branch(frame: Interpreter, operation: Operation) -> list[Value]:
    """Rebuilds an `If`."""
    graphs = [function_graph(operation, name) for name in ("then_branch", "else_branch")]

    def choose(functions: Sequence[Callable[[], Any]]) -> Any:
        return tf.cond(frame.value(operation.inputs[0]).lead, functions[0], functions[1])

    return _choose_branch(frame, operation, graphs, choose)


def case(frame: Interpreter, operation: Operation) -> list[Value]:
    """Rebuilds a `Case`."""
    names = [function.name for function in operation.get_attr("branches")]
    graphs = [named_graph(operation, name) for name in names]

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
            tensors = lower(values, together + written_together)
            return tensors + _padded(recorder, rows, position, indices)

        return run

    flat = choose([build(position) for position in range(len(graphs))])
    flat = list(flat) if isinstance(flat, (list, tuple)) else [flat]
    lanes = len(frame.setting.lanes)
    values = lift(flat, together + written_together, [tuple(sorted(s)) for s in sources], lanes)
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
