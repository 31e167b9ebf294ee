"""Keeping watch on TensorFlow: the batch leaves the compiled step beside what it returns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

import tensorflow as tf

from floatline.backends.interface import Batch
from floatline.backends.scopes import WritesDropped
from floatline.backends.watch_interface import (
    Advance,
    Arrived,
    Company,
    Logs,
    Measure,
    Tensor,
    Training,
)
from floatline.errors import TraceError

_WRITES = ("Assign", "ResourceApply", "ResourceScatter", "ResourceSparseApply", "Rng")
"""How the operations begin that change a variable."""


class Tap:
    """A train function of Keras' that hands out its batches.

    In `fit` Keras takes the next batch inside of a compiled function, whose shapes are those of
    the dataset. So does this; a batch that is known beforehand enters with the same shapes.

    Args:
        model: The model.
        function: Its train function.
    """

    def __init__(self, model: Any, function: Any) -> None:
        self._model = model
        self.function = function
        self._specification: Any = None
        self._fetching: Any = None
        self._given: Any = None

    def reads(self, iterator: Any) -> bool:
        """Whether the batches of an iterator are in sight."""
        if isinstance(iterator, tf.distribute.DistributedIterator):
            return False
        return bool(self._model.steps_per_execution == 1)

    def fetch(self, iterator: Any) -> tuple[Logs, Batch]:
        """Takes a batch and the step."""
        if self._model.run_eagerly or not isinstance(iterator, tf.data.Iterator):
            batch = next(iterator)
            return self.function(iter((batch,))), batch
        self._build(iterator)
        logs, batch = self._fetching(iterator)
        return logs, batch

    def give(self, batch: Batch) -> Logs:
        """Takes a step on a batch that is known."""
        if self._given is None or self._model.run_eagerly:
            return self.function(iter((batch,)))
        return self._given(batch)

    def _build(self, iterator: Any) -> None:
        if self._specification == iterator.element_spec and self._fetching is not None:
            return
        self._specification = iterator.element_spec

        def fetching(iterator: Any) -> tuple[Logs, Batch]:
            batch = iterator.get_next()
            return self.function(iter((batch,))), batch

        self._fetching = tf.function(fetching, autograph=False, reduce_retracing=True)
        self._given = tf.function(
            lambda batch: self.function(iter((batch,))),
            autograph=False,
            input_signature=(self._specification,),
        )


class TensorFlowTraining:
    """One call of Keras' train function.

    Args:
        tap: Runs it.
        iterator: What it is given.
    """

    def __init__(self, tap: Tap, iterator: Any) -> None:
        self.taken: tuple[Batch, ...] = ()
        self._tap = tap
        self._iterator = iterator

    def take(self) -> tuple[Batch, ...]:
        """Takes the batch before the step."""
        if not self.taken and self._tap.reads(self._iterator):
            self.taken = (next(self._iterator),)
        return self.taken

    def step(self) -> Logs:
        """Runs the train function once."""
        if self.taken:
            return self._tap.give(self.taken[0])
        if not self._tap.reads(self._iterator):
            return self._tap.function(self._iterator)
        logs, batch = self._tap.fetch(self._iterator)
        self.taken = (batch,)
        return logs

    def again(self, batch: Batch) -> Logs:
        """Runs it on one batch of before."""
        return self._tap.give(batch)

    def values(self, variables: Sequence[Any]) -> list[Tensor]:
        """The values of variables at this moment."""
        return [variable._value.read_value() for variable in variables]  # noqa: SLF001 (`value` may be cast)

    def put(self, variables: Sequence[Any], values: Sequence[Tensor]) -> None:
        """Gives variables these values."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


@final
class TensorFlowWatch:
    """The operations of a watch on TensorFlow."""

    def company(self, model: Any) -> Company:
        """The replicas of a strategy; a loop over several steps keeps its batches, too."""
        strategy = model._distribute_strategy  # noqa: SLF001 (Keras' own is the default one, too)
        if strategy is not None:
            return Company(
                f"{type(strategy).__name__} hands the batches to its replicas",
                first=bool(strategy.extended.should_save_summary),
                others=bool(strategy.extended._in_multi_worker_mode()),  # noqa: SLF001 (nothing public tells)
            )
        if model.steps_per_execution > 1:
            return Company(
                f"with steps_per_execution={model.steps_per_execution} Keras takes the batches "
                "inside of its compiled loop"
            )
        return Company()

    def tapped(self, model: Any, function: Any, advance: Advance) -> Any:
        """Stands in for the train function."""
        tap = _tap(model, function)
        return lambda iterator: advance(TensorFlowTraining(tap, iterator))

    def resting(self, model: Any, function: Any) -> Training:
        """Variables hold their values at all times."""
        return TensorFlowTraining(_tap(model, function), None)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled with `tf.function`."""
        return tf.function(function, autograph=False)  # type: ignore[no-any-return]  # (TensorFlow carries no types)

    def copied(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The tensors themselves: a variable that is written to takes new memory."""
        return list(values)

    def fetched(self, values: Sequence[Any]) -> Arrived:
        """Waits at once: so does Keras, for the logs of every step."""
        found = [tf.convert_to_tensor(value).numpy() for value in values]
        return lambda: found

    def measuring(
        self, model: Any, measure: Measure
    ) -> Callable[[Training, Sequence[Any], Batch], Any]:
        """Compiles the measurement as Keras compiles the step."""
        step = getattr(model.train_step, "guards", model.train_step)

        def compute(batch: Batch) -> Any:
            def train() -> None:
                with WritesDropped():
                    step(batch)

            return measure(train, WritesDropped, batch)

        jit_compile = bool(model.jit_compile) and not model.run_eagerly
        function = tf.function(
            compute, autograph=False, jit_compile=jit_compile, reduce_retracing=True
        )

        @functools.cache
        def refuse_writes(concrete: Any) -> None:
            writes = sorted(set(filter(_writes, _operations(concrete.graph))))
            if writes:
                raise TraceError(
                    f"The step writes to variables that are not Keras' ({', '.join(writes)}), so "
                    "that it cannot be repeated without changing them.",
                    "Keep such values in keras.Variable.",
                )

        def run(training: Training, _variables: Sequence[Any], batch: Batch) -> Any:
            del training
            refuse_writes(function.get_concrete_function(batch))
            return function(batch)

        return run

    def random_state(self) -> list[Tensor]:
        """None: Keras keeps its seeds in variables, and TensorFlow's own cannot be read."""
        return []

    def put_random_state(self, state: Sequence[Tensor]) -> None:
        """Nothing is to be put back."""

    def frame(self) -> Any:
        """The graph that is being built."""
        return tf.compat.v1.get_default_graph()


def _tap(model: Any, function: Any) -> Tap:
    """Kept with what it is made for, so that a later `fit` does not trace the step again."""
    tap: Tap = vars(function).setdefault("tap", Tap(model, function))
    return tap


def _operations(graph: Any) -> list[str]:
    definition = graph.as_graph_def()
    inner = [node.op for function in definition.library.function for node in function.node_def]
    return [*(node.op for node in definition.node), *inner]


def _writes(operation: str) -> bool:
    return operation.startswith(_WRITES)


KERNELS = TensorFlowWatch()
