"""The operations of a graph that a run needs, every one after its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from floatline.backends.tensorflow.lanes import Operation, Tensor


def needed(graph: Any, outputs: Sequence[Tensor]) -> list[Operation]:
    """What the outputs and the graph's side effects depend on, every operation after its inputs.

    The order is that of creation as far as inputs allow: a gradient adds inputs to a loop that
    was there before them.
    """
    reached: set[Operation] = set()
    waiting = [tensor.op for tensor in outputs] + list(graph.control_outputs)
    while waiting:
        operation = waiting.pop()
        if operation not in reached:
            reached.add(operation)
            waiting.extend(_dependencies(operation))
    ordered: dict[Operation, None] = {}
    for operation in graph.get_operations():
        if operation in reached:
            _append_after_dependencies(operation, ordered)
    return list(ordered)


def _append_after_dependencies(operation: Operation, ordered: dict[Operation, None]) -> None:
    waiting = [operation]
    while waiting:
        missing = [before for before in _dependencies(waiting[-1]) if before not in ordered]
        if missing:
            waiting.extend(missing)
        else:
            ordered[waiting.pop()] = None


def _dependencies(operation: Operation) -> list[Operation]:
    return [*operation.control_inputs, *(tensor.op for tensor in operation.inputs)]
