"""Operations whose result is as long as their values say: every lane follows the real step.

Values that differ in their last digits may be a different number of values: `x > 0` selects fewer
of them where small ones were flushed. Lanes of unequal length could not be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from floatline.backends.tensorflow.lanes import LOW, Operation, Tensor, Value, merge_sources, upcast

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter


def _indices(frame: Interpreter, operation: Operation) -> list[Value]:
    """Positions of what holds: the same in every lane."""
    inputs = [frame.value(tensor) for tensor in operation.inputs]
    frame.setting.omissions.moved += frame.recorder is not None
    outputs = frame.emit_lead(operation, inputs)
    return [frame.taken(output, merge_sources(inputs)) for output in outputs]


def _range(frame: Interpreter, operation: Operation) -> list[Value]:
    """A count upwards: from each lane's own start in its own steps, as often as the real one."""
    start, limit, delta = (frame.value(tensor) for tensor in operation.inputs)
    (computed,) = frame.emit_lead(operation, [start, limit, delta])
    sources = merge_sources([start, limit, delta])
    if computed.dtype not in LOW:
        frame.setting.omissions.moved += frame.recorder is not None
        return [frame.taken(computed, sources)]
    steps = tf.range(tf.size(computed))

    def count(first: Tensor, step: Tensor) -> Tensor:
        return upcast(first) + upcast(step) * tf.cast(steps, tf.float32)

    lanes = (computed, *map(count, start.lanes[1:], delta.lanes[1:]))
    local = count(start.lead, delta.lead)
    return [frame.measured(operation, 0, Value(lanes, sources), local)]


def _partition(frame: Interpreter, operation: Operation) -> list[Value]:
    """Parts of the values, each as long as the real step's part."""
    data, parts = (frame.value(tensor) for tensor in operation.inputs)
    frame.setting.omissions.moved += frame.recorder is not None
    count = operation.get_attr("num_partitions")
    lanes = [tf.dynamic_partition(lane, parts.lead, count) for lane in data.lanes]
    sources = merge_sources([data, parts])
    return [Value(tuple(part), sources) for part in zip(*lanes, strict=True)]


HANDLERS: dict[str, Callable[[Interpreter, Operation], list[Value]]] = {
    "Where": _indices,
    "Range": _range,
    "DynamicPartition": _partition,
}
"""Needed where there is more than one lane."""
