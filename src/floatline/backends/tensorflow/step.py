"""A user's training step on TensorFlow: run as it is, snapshot, traced, or trained in float32."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from floatline.backends.batches import shared_rows
from floatline.backends.interface import Batch, LayerSource, Outcome, State
from floatline.backends.memory import within_memory
from floatline.backends.shelf import Shelf, Shelved
from floatline.backends.tensorflow.builder import Builder, as_given
from floatline.backends.tensorflow.checks import checks_note, no_checks
from floatline.backends.tensorflow.lanes import Tensor, raised
from floatline.backends.tensorflow.memory import ran_short
from floatline.backends.tensorflow.optimizers import (
    held_back,
    iterations,
    loss_scale,
    model_variables,
    raw,
    scale_tensors,
)
from floatline.backends.tensorflow.program import (
    AFFORDABLE,
    Float32Program,
    StepGraph,
    TracedProgram,
    variable_path,
)
from floatline.records import StepRecord, Trace
from floatline.tracing.agreement import compare


class TensorFlowStep:
    """One training step of the user's.

    Args:
        call: The step as a function of one batch.
        owner: The model that is trained, or None for a step function.
        eager: Run the step without compiling it, as the user asked.
        jit_compile: Compile it with XLA, as the user asked.
        layer_source: Where a layer was made by the user's code.
        seed: What backward passes start at.
        any_rows: One graph may serve batches of different size.
    """

    def __init__(
        self,
        call: Callable[[Batch], Any],
        *,
        owner: keras.Model | None,
        eager: bool,
        jit_compile: bool,
        layer_source: LayerSource,
        seed: float = 1.0,
        any_rows: bool = True,
    ) -> None:
        self._again = functools.partial(
            TensorFlowStep,
            call,
            owner=owner,
            eager=eager,
            jit_compile=jit_compile,
            layer_source=layer_source,
        )
        self._owner = owner
        self._eager = eager
        self._compiles = jit_compile and not eager
        self._builder = Builder(
            call,
            owner=owner,
            eager=eager,
            jit_compile=jit_compile,
            layer_source=layer_source,
            seed=seed,
            any_rows=any_rows,
        )
        self._opened: Builder | None = None
        self._rebuilt: Builder | None = None
        self._traced: dict[Any, TracedProgram] = {}
        self._shelf: Shelf | None = None

    # The real step

    @no_checks()
    def prepare(self, batch: Batch) -> None:
        """Builds the step for `batch` without running it, so that its variables exist."""
        with contextlib.suppress(Exception):
            self._builder.concrete(batch)

    @no_checks()
    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        """Runs the real step on the real variables; returns what it returned, and its outcome."""
        builder = self._builder
        if self._eager:
            batch = as_given(batch)
            run, observed = builder.observed_call, builder.latest
        else:
            run, observed = builder.function, builder.observations[builder.concrete(batch).graph]
            batch = builder.tensors(batch)
        updates, scale = iterations(observed), loss_scale(observed)
        returned, losses, flags = run(batch)
        observed = observed or builder.latest
        finite = tuple(bool(flag) for flag in flags.numpy())
        skipped = not all(finite) and held_back(observed, updates)
        outcome = Outcome(
            loss=float(losses[0]) if len(losses) else None,
            finite=finite,
            variables=tuple(variable_path(v) for _, v in observed.handed_over) if observed else (),
            loss_scale=scale if scale is not None else loss_scale(observed),
            applied=not skipped,
        )
        return returned, outcome

    # State

    def remembered(self, batch: Batch) -> Batch:
        """The batch itself: the state of this step is in variables."""
        return batch

    def keep_states_on(self, shelf: Shelf) -> None:
        """Snapshots keep their large values there from now on, one after the other."""
        self._shelf = shelf

    def state_bytes(self) -> int:
        """Bytes that the values of a snapshot take."""
        return sum(_bytes_of(variable) for variable in self._variables())

    def snapshot(self) -> State:
        """Copies the values of every variable that the step can touch."""
        read = ((v, v.read_value()) for v in self._variables())
        # What a build that failed has left behind was never initialized: it reads as empty.
        return {
            id(v): (v, self._kept(value))
            for v, value in read
            if v.shape.is_compatible_with(value.shape)
        }

    def restore(self, state: State) -> None:
        """Puts a snapshot back, bit for bit."""
        for variable, value in state.values():
            variable.assign(_recalled(value))

    def _kept(self, value: Tensor) -> Tensor | Shelved:
        if self._shelf is None or not self._shelf.takes(_bytes_of(value)):
            return value
        return self._shelf.put(value.numpy())

    def _variables(self) -> Sequence[tf.Variable]:
        known = model_variables(self._owner) if self._owner is not None else []
        for graph, observed in self._builder.observations.items():
            known.extend(graph.variables)
            known.extend(raw(v) for optimizer in observed.optimizers for v in optimizer.variables)
        if self._builder.latest is not None:
            for optimizer in self._builder.latest.optimizers:
                known.extend(raw(variable) for variable in optimizer.variables)
        return list({id(variable): variable for variable in known}.values())

    # Looking inside

    def trace(self, state: State, batch: Batch) -> Trace:
        """Runs the step from `state` with a float32 shadow; the user's variables stay.

        Operation by operation a step escapes what XLA makes of it. If that is what fails, it is
        traced as XLA compiles it.
        """
        notes = checks_note()
        with no_checks():
            trace = within_memory(lambda: self._trace(state, batch), ran_short)
        return dataclasses.replace(trace, notes=(*trace.notes, *notes))

    def _trace(self, state: State, batch: Batch) -> Trace:
        trace, _ = self._run_traced(state, batch)
        if self._compiles and not self._shows(trace, state, batch):
            return self._traced_whole(state, batch) or trace
        return trace

    def _traced_whole(self, state: State, batch: Batch) -> Trace | None:
        """The step traced with XLA, if XLA can and it then shows what the step shows."""
        step, _ = self._looked_into(batch).graph_for(batch)
        if len(step.graph.get_operations()) > AFFORDABLE or self._traced[step.concrete].whole:
            return None
        before = self._traced[step.concrete]
        try:
            self._traced[step.concrete] = TracedProgram(step, whole=True)
            trace, _ = self._run_traced(state, batch)
        except tf.errors.OpError:  # XLA does not know every operation.
            trace = None
        if trace is None or not self._shows(trace, state, batch):
            self._traced[step.concrete] = before
            return None
        return trace

    def _shows(self, trace: Trace, state: State, batch: Batch) -> bool:
        """Whether a trace shows what the step shows by itself."""
        with self._restored():
            self.restore(state)
            try:
                _, outcome = self.run(batch)
            except Exception:  # noqa: BLE001 (what a step raises is told elsewhere)
                return True
        return compare(trace, StepRecord(0, outcome.loss, all(outcome.finite))) is None

    def traced_state(self, state: State, batch: Batch) -> dict[str, Tensor]:
        """What the traced step gives each variable: for comparison with the step itself."""
        step, _ = self._looked_into(batch).graph_for(batch)
        return dict(zip(step.paths, self._run_traced(state, batch)[1], strict=True))

    def _run_traced(self, state: State, batch: Batch) -> tuple[Trace, list[Tensor]]:
        step, tensors = self._looked_into(batch).graph_for(batch)
        if step.concrete not in self._traced:
            self._traced[step.concrete] = TracedProgram(step)
        program = self._traced[step.concrete]
        with self._restored() if program.in_place else contextlib.nullcontext():
            return program.run(_values(step, state), tensors)

    def _looked_into(self, batch: Batch) -> Builder:
        if self._opened is None:
            self._opened = self._builder.opened(batch)
        return self._opened

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        kept = self.snapshot()
        try:
            yield
        finally:
            self.restore(kept)

    def rows(self, batch: Batch) -> int | None:
        """How many rows a batch has; None where its arrays share none."""
        return shared_rows(map(_shape, filter(_is_data, tf.nest.flatten(batch))))

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """The batch with some of its rows."""

        def some(leaf: Any) -> Any:
            if not _is_data(leaf) or not len(leaf.shape) or leaf.shape[0] == 1:
                return leaf
            order = np.asarray(rows)
            return leaf[order] if isinstance(leaf, np.ndarray) else tf.gather(leaf, order)

        return tf.nest.map_structure(some, batch)

    def seeded(self, seed: float) -> TensorFlowStep:
        """The same step with the same variables, whose backward passes start at `seed`."""
        step: TensorFlowStep = self._again(seed=seed, any_rows=False)
        if self._shelf is not None:
            step.keep_states_on(self._shelf)
        return step

    def float32(
        self, state: State, *, rounded: bool = False, rebuilt: bool = False
    ) -> Float32Replay:
        """Starts the same training in float32 from `state`."""
        builder = self._in_float32 if rebuilt else self._looked_into
        return Float32Replay(builder, state, rounded=rounded)

    def _in_float32(self, _batch: Batch) -> Builder:
        if self._rebuilt is None:
            self._rebuilt = self._builder.rebuilt_in_float32()
        return self._rebuilt


class Float32Replay:
    """A training in float32 beside the user's, on variables of its own.

    Args:
        builder: Gives what builds the step for a batch.
        state: A snapshot to start from.
        rounded: Round the weights through the step's low format first.
    """

    def __init__(self, builder: Callable[[Batch], Builder], state: State, *, rounded: bool) -> None:
        self._builder = builder
        self._rounded = rounded
        self._initial = state
        self._state: dict[int, Tensor] = {}
        self._programs: dict[Any, Float32Program] = {}

    @no_checks()
    def advance(self, batch: Batch) -> Outcome:
        """Runs the next step in float32."""
        return within_memory(lambda: self._advance(batch), ran_short)

    def _advance(self, batch: Batch) -> Outcome:
        step, tensors = self._builder(batch).graph_for(batch)
        if step.concrete not in self._programs:
            self._programs[step.concrete] = Float32Program(step)
        values = [self._value(variable, step) for variable in step.variables]
        loss, finite, after = self._programs[step.concrete].run(values, tensors)
        # Float32 needs no loss scale, so one that would run away must not spoil it.
        kept = {id(variable) for variable in scale_tensors(step.observed)}
        for variable, value in zip(step.variables, after, strict=True):
            if id(variable) not in kept:
                self._state[id(variable)] = value
        return Outcome(loss, finite, tuple(path for _, path in step.gradients))

    def _value(self, variable: tf.Variable, step: StepGraph) -> Tensor:
        if id(variable) in self._state:
            return self._state[id(variable)]
        value = _initial(variable, self._initial)
        value = tf.cast(value, raised(value.dtype))
        low = step.low_dtype
        if self._rounded and low is not None and variable.trainable and value.dtype == tf.float32:
            return tf.cast(tf.cast(value, low), tf.float32)
        return value


def _initial(variable: tf.Variable, state: State) -> Tensor:
    return _recalled(state[id(variable)][1]) if id(variable) in state else variable.read_value()


def _recalled(value: Tensor | Shelved) -> Tensor:
    return tf.constant(value.array()) if isinstance(value, Shelved) else value


def _bytes_of(value: Any) -> int:
    """Bytes of a tensor or variable; 0 for one of unknown shape, or of no numbers."""
    numbers = value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool
    size = value.shape.num_elements() if numbers else None
    return int(value.dtype.size * (size or 0))


def _is_data(leaf: Any) -> bool:
    """Whether a leaf of a batch holds rows: no variable, and nothing but arrays."""
    tensor = tf.is_tensor(leaf) and not isinstance(leaf, tf.Variable)
    return tensor or isinstance(leaf, np.ndarray)


def _shape(leaf: Any) -> tuple[int, ...] | None:
    """Its shape; None for what is put together from several arrays."""
    whole = isinstance(leaf, (np.ndarray, tf.Tensor))
    return tuple(map(int, leaf.shape)) if whole else None


def _values(step: StepGraph, state: State) -> list[Tensor]:
    return [_initial(variable, state) for variable in step.variables]
