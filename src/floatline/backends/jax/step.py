"""A user's training step on JAX: run as it is, snapshot, traced, or trained in float32."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from floatline.backends.batches import shared_rows
from floatline.backends.interface import Batch, LayerSource, Outcome, State
from floatline.backends.jax.builder import Builder, PureStep, StepJaxpr
from floatline.backends.jax.checks import checks_note, no_checks
from floatline.backends.jax.lanes import COMPUTED, Array
from floatline.backends.jax.memory import ran_short
from floatline.backends.jax.outcomes import outcome_of
from floatline.backends.jax.programs import PlainProgram, TracedProgram
from floatline.backends.jax.replay import Float32Replay
from floatline.backends.jax.threads import Threads, Written, after_variables
from floatline.backends.jax.variables import (
    ModelVariables,
    NoVariables,
    kept,
    recalled,
    values_of,
)
from floatline.backends.memory import within_memory
from floatline.backends.shelf import Shelf
from floatline.errors import OutOfMemoryError, TraceError
from floatline.records import StepRecord, Trace
from floatline.tracing.agreement import compare


class JaxStep:
    """One training step of the user's.

    Args:
        call: The step as a pure function of variables and a batch.
        variables: The variables that it is given and whose new values it returns.
        owner: The model that is trained, or None for a step function.
        eager: Run the step without compiling it, as the user asked.
        layer_source: Where a layer was made by the user's code.
        arguments: What the elements of a batch that is a tuple are called.
        numbers: Whether whole numbers in a batch are data, as `jax.jit` takes them.
        static: Positions in a batch that is a tuple of what is no data in any case.
        seed: What backward passes start at.
        threads: What is known of the state that the step hands on to itself.
    """

    def __init__(
        self,
        call: PureStep,
        *,
        variables: ModelVariables | NoVariables,
        owner: keras.Model | None,
        eager: bool,
        layer_source: LayerSource,
        arguments: Sequence[str] = (),
        numbers: bool = False,
        static: frozenset[int] = frozenset(),
        seed: float = 1.0,
        threads: Threads | None = None,
    ) -> None:
        self._again = functools.partial(
            JaxStep,
            call,
            variables=variables,
            owner=owner,
            eager=eager,
            layer_source=layer_source,
            arguments=arguments,
            numbers=numbers,
            static=static,
        )
        self._call = call
        self._known = variables
        self._eager = eager
        self._builder = Builder(
            call,
            paths=variables.paths,
            owner=owner,
            layer_source=layer_source,
            arguments=arguments,
            numbers=numbers,
            static=static,
            pure=owner is not None or not eager,
            seed=seed,
        )
        self._rebuilt: Builder | None = None
        self._plain: dict[int, PlainProgram] = {}
        self._traced: dict[int, TracedProgram] = {}
        self._raised: dict[int, PlainProgram] = {}
        self._threads = threads or Threads()
        self._written = Written()
        self._shelf: Shelf | None = None

    # The real step

    def prepare(self, batch: Batch) -> None:
        """Builds the step for `batch` without running it, so that its variables exist."""
        self._known.build(batch)
        with contextlib.suppress(TraceError):
            self._builder.jaxpr_for(values_of(self._known.all()), batch)

    @no_checks()
    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        """Runs the real step on the real variables; returns what it returned, and its outcome."""
        self._known.build(batch)
        variables = self._known.all()
        before = values_of(variables)
        try:
            step, arrays = self._jaxpr_for(before, batch)
        except TraceError:
            return self._run_as_python(variables, before, batch)
        arrays = self._written.put_into(arrays)
        program = self._plain_program(step)
        ran = program.run([*before, *arrays])
        outputs = ran.outputs
        self._written.follow(step, outputs)
        if self._threads.follow(arrays, outputs[: step.returned]):
            self._builder.correct(step, self._threads.seen(step))
        after = outputs[step.returned : after_variables(step)]
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        returned = jax.tree.unflatten(step.structure, outputs[: step.returned])
        return returned, outcome_of(step, program, [*before, *arrays], ran)

    def _run_as_python(
        self, variables: Sequence[Any], before: Sequence[Array], batch: Batch
    ) -> tuple[Any, Outcome]:
        """A step that JAX cannot trace still runs; what it hands to its optimizer is unknown."""
        returned, after = self._call(before, batch)
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return returned, Outcome(loss=None)

    # State

    def remembered(self, batch: Batch) -> Batch:
        """The batch with no more than the shape of what the step before has returned."""
        return self._builder.leaves(batch).without(self._threads.fresh)

    def keep_states_on(self, shelf: Shelf) -> None:
        """Snapshots keep their large values there from now on, one after the other."""
        self._shelf = shelf

    def state_bytes(self) -> int:
        """Bytes that the values of a snapshot take."""
        return sum(array.nbytes for array in values_of(self._known.all()))

    def snapshot(self) -> State:
        """Copies the values of every variable that the step can touch."""
        variables = self._known.all()
        arrays = values_of(variables)
        return Snapshot(
            {
                id(v): (v, kept(array, self._shelf))
                for v, array in zip(variables, arrays, strict=True)
            },
            self._written.copy(),
        )

    def restore(self, state: State) -> None:
        """Puts a snapshot back, bit for bit."""
        for variable, value in state.variables.values():
            variable.assign(jnp.copy(recalled(value)))
        self._written = state.written.copy()

    def _values(self, state: State) -> list[Array]:
        return [
            recalled(state.variables[id(v)][1]) if id(v) in state.variables else v._value  # noqa: SLF001 (`value` may be cast)
            for v in self._known.all()
        ]

    # Looking inside

    def trace(self, state: State, batch: Batch) -> Trace:
        """Runs the step from `state` with a float32 shadow; the user's variables stay.

        In pieces a step escapes what XLA makes of it as a whole. If that is what fails, the step is
        traced as a whole.
        """
        notes = checks_note()
        with no_checks():
            trace = within_memory(lambda: self._trace(state, batch), ran_short)
        return dataclasses.replace(trace, notes=(*trace.notes, *notes))

    def _trace(self, state: State, batch: Batch) -> Trace:
        trace, _ = self._run_traced(state, batch)
        before = self._values(state)
        step, arrays = self._jaxpr_for(before, batch)
        arrays = state.written.put_into(arrays)
        pieces = self._traced[id(step)]
        if pieces.in_pieces and not self._shows(trace, step, [*before, *arrays]):
            self._traced[id(step)] = TracedProgram(step, whole=True)
            try:
                trace, _ = within_memory(lambda: self._run_traced(state, batch), ran_short)
            except OutOfMemoryError:  # What pieces have shown is there.
                self._traced[id(step)] = pieces
        return trace

    def _jaxpr_for(self, before: list[Array], batch: Batch) -> tuple[StepJaxpr, list[Array]]:
        """The step's jaxpr for a batch, corrected by what earlier steps have shown of its state."""
        step, arrays = self._builder.jaxpr_for(before, batch)
        if self._threads.know(arrays) and self._builder.correct(step, self._threads.seen(step)):
            step, arrays = self._builder.jaxpr_for(before, batch)
        return step, arrays

    def rows(self, batch: Batch) -> int | None:
        """How many rows a batch has; None where its arrays share none."""
        leaves = self._builder.leaves(batch)
        data = self._data(batch)
        return shared_rows(leaves.arrays[n].shape for n in data) if data else None

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """The batch with some of its rows."""
        leaves, data = self._builder.leaves(batch), self._data(batch)
        order = np.asarray(rows)
        return leaves.filled(
            [
                array[order] if n in data and array.ndim and array.shape[0] > 1 else array
                for n, array in enumerate(leaves.arrays)
            ]
        )

    def _data(self, batch: Batch) -> set[int]:
        """Positions of a batch's arrays that are neither state nor keys of random numbers."""
        step, arrays = self._jaxpr_for(values_of(self._known.all()), batch)
        return {
            n
            for n, array in enumerate(arrays)
            if step.variables + n not in step.continued and not _is_key(array)
        }

    def seeded(self, seed: float) -> JaxStep:
        """The same step with the same variables, whose backward passes start at `seed`."""
        step: JaxStep = self._again(seed=seed, threads=self._threads.copy())
        if self._shelf is not None:
            step.keep_states_on(self._shelf)
        return step

    def _shows(self, trace: Trace, step: StepJaxpr, inputs: Sequence[Array]) -> bool:
        """Whether a trace shows what the step shows by itself."""
        program = self._plain_program(step)
        outcome = outcome_of(step, program, inputs, program.run(inputs))
        return compare(trace, StepRecord(0, outcome.loss, all(outcome.finite))) is None

    def _plain_program(self, step: StepJaxpr) -> PlainProgram:
        if id(step) not in self._plain:
            self._plain[id(step)] = PlainProgram(step, COMPUTED, eager=self._eager)
        return self._plain[id(step)]

    def traced_state(self, state: State, batch: Batch) -> dict[str, Array]:
        """What the traced step gives each variable: for comparison with the step itself."""
        return dict(zip(self._known.paths(), self._run_traced(state, batch)[1], strict=True))

    def _run_traced(self, state: State, batch: Batch) -> tuple[Trace, list[Array]]:
        before = self._values(state)
        step, arrays = self._jaxpr_for(before, batch)
        if id(step) not in self._traced:
            self._traced[id(step)] = TracedProgram(step)
        arrays = state.written.put_into(arrays)
        trace, outputs = self._traced[id(step)].run([*before, *arrays])
        return trace, outputs[step.returned : after_variables(step)]

    def float32(
        self, state: State, *, rounded: bool = False, rebuilt: bool = False
    ) -> Float32Replay:
        """Starts the same training in float32 from `state`.

        Raises:
            TraceError: It is to be built anew, but names its dtypes itself.
        """
        builder = self._builder
        if rebuilt:
            self._rebuilt = builder = self._rebuilt or builder.rebuilt_in_float32()
        start = self._values(state)
        return Float32Replay(builder, start, self._threads, self._raised, rounded=rounded)


def _is_key(array: Array) -> bool:
    """Whether it is a key of random numbers, of the old kind or the new."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return True
    return bool(array.dtype == np.uint32 and array.shape == (2,))


class Snapshot(NamedTuple):
    """Values of the variables by their identity, and what steps have written in place."""

    variables: Mapping[int, tuple[Any, Any]]
    written: Written
