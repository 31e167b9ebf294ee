"""Loss scaling on TensorFlow: what one replica cannot represent, no replica applies."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from operator import mul
from typing import Any, final

import tensorflow as tf

from floatline.backends.scaling_defaults import assigning, scaled
from floatline.backends.scaling_interface import (
    SKIPPED,
    Assign,
    Function,
    Gradient,
    Tensor,
    Transition,
    Updater,
)

LONGEST_TABLE = 4096
"""Values of one gradient that are reduced together with those of all others."""


@final
class TensorFlowKernels:
    """The operations of loss scaling on TensorFlow."""

    def magnitudes(self, gradients: Sequence[Gradient]) -> Tensor:
        """Each gradient's largest magnitude, summed over replicas: a sum keeps inf and NaN."""
        rows = [_largest_of_rows(_values(gradient)) for gradient in gradients]
        longest = max(1, *(values.shape[0] for values in rows))
        table = tf.stack([tf.pad(values, [[0, longest - values.shape[0]]]) for values in rows])
        return _summed(tf.reduce_max(table, axis=1))

    def scaled(self, loss: Tensor, scale: Tensor) -> Tensor:
        """The loss times the scale; NaN in every gradient if the loss is NaN."""
        return scaled(loss, scale)

    def transition(self, function: Function, assign: Assign) -> Transition:
        """Computed and assigned: it is compiled with the step that makes it."""
        return assigning(function, assign)

    def unscale(self, gradients: Sequence[Gradient], scale: Tensor) -> list[Gradient]:
        """New gradients, divided by `scale`."""
        return [_divided(gradient, tf.convert_to_tensor(scale)) for gradient in gradients]

    def updater(self) -> Updater:
        """Updates only if the step is finite."""
        return update_where

    def guarded_step(self, model: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A train step that leaves no trace in `model` when its optimizer skips."""

        def train_step(data: Any) -> Any:
            optimizer = model.optimizer
            if not (hasattr(optimizer, "report") and _variables_exist(model, data)):
                return step(data)
            variables = [*model.non_trainable_variables, *model.metrics_variables]
            before = [tf.identity(variable.value) for variable in variables]
            scale = [tf.identity(variable.value) for variable in optimizer.scale_variables]
            logs = step(data)
            counters = optimizer.scale_variables[-1].value
            applied = tf.equal(counters[SKIPPED], scale[-1][SKIPPED])
            _put_back_unless(applied, variables, before)
            _exonerate(optimizer, scale, applied, logs)
            results: dict[str, Tensor] = model.get_metrics_result()
            return results if results.keys() == logs.keys() else logs

        return train_step

    def would_freeze(self, value: Tensor) -> bool:
        """Never: a graph reads its variables when it runs."""
        del value
        return False


def _variables_exist(model: Any, data: Any) -> bool:
    """Creates what is still missing: a variable that the step itself creates has no old value."""
    with contextlib.suppress(RuntimeError, ValueError):  # Then the step itself says what is wrong.
        model._symbolic_build(data_batch=data)  # noqa: SLF001 (what Keras does before a step on other backends)
    return bool(model.optimizer.built)


def _put_back_unless(finite: Tensor, variables: Sequence[Any], before: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, before, strict=True):
        variable.assign(tf.where(finite, variable.value, value))


def _exonerate(
    optimizer: Any, scale: Sequence[Tensor], applied: Tensor, logs: dict[str, Tensor]
) -> None:
    """Puts the scale back where the loss was non-finite before it was scaled."""
    if "loss" in logs:
        broken = tf.logical_not(tf.logical_or(applied, tf.math.is_finite(logs["loss"])))
        fails = _summed(tf.cast(broken, tf.float32)) > 0.0
        now = [variable.value for variable in optimizer.scale_variables]
        values = optimizer.cleared(scale, now, fails)
        for variable, value in zip(optimizer.scale_variables, values, strict=True):
            variable.assign(value)


def _summed(values: Tensor) -> Tensor:
    """The sum over all replicas, the same on each."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)


def _is_compiled_by_xla() -> bool:
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()  # noqa: SLF001 (no public way to ask)
        if context is not None and context.IsXLAContext():
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _update_and_select(
    finite: Tensor,
    update: Callable[[list[Gradient | None]], None],
    gradients: list[Gradient | None],
    variables: Sequence[Any],
) -> None:
    """XLA fuses a select with the update, but copies what a branch may write."""
    before = [tf.convert_to_tensor(variable.value) for variable in variables]
    update(gradients)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(tf.where(finite, variable.value, value))


def _update_if(finite: Tensor, update: Callable[[], None]) -> None:
    def applied() -> Tensor:
        update()
        return tf.constant(True)

    tf.cond(finite, applied, lambda: tf.constant(False))


def _values(gradient: Gradient) -> Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _largest_of_rows(values: Tensor) -> Tensor:
    """The largest magnitudes of parts of a gradient: one kernel, where all of it would take two."""
    # A maximum that XLA compiles for a CPU loses NaN. A constant infinity would be found by
    # `tf.debugging.enable_check_numerics` in steps in which nothing is wrong.
    finite = tf.math.is_finite(values)
    magnitudes = tf.where(finite, tf.abs(values), tf.ones_like(values))
    magnitudes /= tf.cast(finite, values.dtype)
    if not values.shape.is_fully_defined():
        largest = tf.reshape(tf.reduce_max(magnitudes), (1,))
        return tf.cast(tf.maximum(largest, 0), tf.float32)  # The maximum of nothing is -inf.
    leading = itertools.takewhile(LONGEST_TABLE.__ge__, itertools.accumulate(values.shape, mul))
    rest = list(range(len(list(leading)), len(values.shape)))
    rows = tf.reduce_max(magnitudes, axis=rest) if rest else magnitudes
    return tf.cast(tf.reshape(rows, (-1,)), tf.float32)


def _divided(gradient: Gradient, scale: Tensor) -> Gradient:
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values / tf.cast(scale, gradient.values.dtype)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient / tf.cast(scale, gradient.dtype)


def update_where(
    finite: Tensor,
    update: Callable[[list[Gradient | None]], None],
    gradients: list[Gradient | None],
    variables: Sequence[Any],
) -> None:
    """Updates only if `finite`.

    Raises:
        ValueError: It is called in cross-replica context.
    """
    if _is_compiled_by_xla():
        _update_and_select(finite, update, gradients, variables)
        return
    if tf.distribute.in_cross_replica_context():
        raise ValueError(
            "An update under a distribution strategy was asked for outside of its replicas. "
            "Call it inside of `strategy.run`."
        )
    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        _update_if(finite, lambda: update(gradients))
        return

    def merged(strategy: Any, finite: Tensor, gradients: list[Gradient | None]) -> None:
        # An update merges its replicas, which must not happen inside a replica's branch.
        agreed = strategy.experimental_local_results(finite)[0]
        each = strategy.extended.call_for_each_replica
        _update_if(agreed, lambda: each(update, args=(gradients,)))

    tf.distribute.get_replica_context().merge_call(merged, args=(finite, gradients))


KERNELS = TensorFlowKernels()
