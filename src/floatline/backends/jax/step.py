"""A user's training step on JAX: run as it is, snapshot, traced, or trained in float32."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from floatline.backends.interface import Batch, LayerSource, Outcome, State
from floatline.backends.jax.builder import Builder, PureStep, StepJaxpr
from floatline.backends.jax.checks import checks_note, no_checks
from floatline.backends.jax.lanes import COMPUTED, SHADOW, Array
from floatline.backends.jax.outcomes import outcome_of
from floatline.backends.jax.programs import PlainProgram, TracedProgram, raised_state
from floatline.backends.jax.variables import (
    ModelVariables,
    NoVariables,
    kept,
    recalled,
    scale_paths,
    values_of,
)
from floatline.backends.shelf import Shelf
from floatline.errors import TraceError
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
    ) -> None:
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
        )
        self._rebuilt: Builder | None = None
        self._plain: dict[int, PlainProgram] = {}
        self._traced: dict[int, TracedProgram] = {}
        self._raised: dict[int, PlainProgram] = {}
        self._threads = Threads()
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
            step, arrays = self._builder.jaxpr_for(before, batch)
        except TraceError:
            return self._run_as_python(variables, before, batch)
        arrays = self._written.put_into(arrays)
        program = self._plain_program(step)
        ran = program.run([*before, *arrays])
        outputs = ran.outputs
        self._written.follow(step, outputs)
        if self._threads.follow(arrays, outputs[: step.returned]):
            self._builder.correct(step, self._threads.seen(step))
        after = outputs[step.returned : _after_variables(step)]
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
            trace = self._trace(state, batch)
        return dataclasses.replace(trace, notes=(*trace.notes, *notes))

    def _trace(self, state: State, batch: Batch) -> Trace:
        trace, _ = self._run_traced(state, batch)
        before = self._values(state)
        step, arrays = self._builder.jaxpr_for(before, batch)
        arrays = state.written.put_into(arrays)
        if self._traced[id(step)].in_pieces and not self._shows(trace, step, [*before, *arrays]):
            self._traced[id(step)] = TracedProgram(step, whole=True)
            trace, _ = self._run_traced(state, batch)
        return trace

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
        step, arrays = self._builder.jaxpr_for(before, batch)
        if id(step) not in self._traced:
            self._traced[id(step)] = TracedProgram(step)
        arrays = state.written.put_into(arrays)
        trace, outputs = self._traced[id(step)].run([*before, *arrays])
        return trace, outputs[step.returned : _after_variables(step)]

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


class Written:
    """What a step has replaced in place, in the containers that it is given.

    Flax NNX writes to the model that a step is handed. Here the step is given a container of its
    own, filled anew each time, so the user's is never written to; what the step would have found
    in it is kept beside.
    """

    def __init__(self, values: Mapping[int, tuple[Array, Array]] | None = None) -> None:
        self._values = dict(values or {})
        self._given: list[Array] = []

    def copy(self) -> Written:
        """The same values, to be kept."""
        return Written(self._values)

    def put_into(self, arrays: Sequence[Array]) -> list[Array]:
        """What the step would be given, had it written to the user's containers."""
        self._given = list(arrays)
        return [
            self._values[n][1] if n in self._values and self._values[n][0] is array else array
            for n, array in enumerate(arrays)
        ]

    def follow(self, step: StepJaxpr, outputs: Sequence[Array]) -> None:
        """Notes what the step has replaced."""
        for number, output in zip(step.written, outputs[_after_variables(step) :], strict=True):
            self._values[number] = (self._given[number], output)


class Snapshot(NamedTuple):
    """Values of the variables by their identity, and what steps have written in place."""

    variables: Mapping[int, tuple[Any, Any]]
    written: Written


def _after_variables(step: StepJaxpr) -> int:
    return step.returned + step.variables


class Threads:
    """Which inputs of a step are outputs of the step before, as a loop in JAX passes them on.

    A pure step is given its state and returns the next one. The loop that calls it hands the very
    arrays back, and so it shows which input continues which output.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, Array]] = {}
        self._seen: dict[int, int] = {}
        self.fresh: frozenset[int] = frozenset()
        """Positions of what the last step was given and the step before it had returned."""

    def follow(self, arrays: Sequence[Array], returned: Sequence[Array]) -> bool:
        """Notes what a step was given besides its variables, and what it returned.

        Returns:
            Whether that has shown something new.
        """
        before = len(self._seen)
        returns = [self._last.get(id(array), (0, None)) for array in arrays]
        fresh = {n: number for n, (number, last) in enumerate(returns) if last is arrays[n]}
        self._seen |= fresh
        self.fresh = frozenset(fresh)
        self._last = {id(array): (number, array) for number, array in enumerate(returned)}
        return len(self._seen) > before

    def seen(self, step: StepJaxpr) -> dict[int, int]:
        """Output by input position: the variables', what is written, and what was seen else."""
        written = {step.variables + n for n in step.written}
        own = {n: o for n, o in step.continued.items() if n < step.variables or n in written}
        return own | {step.variables + n: output for n, output in self._seen.items()}

    def of(self, step: StepJaxpr) -> dict[int, int]:
        """Output by input position: what was seen, else what the step's structure suggests."""
        return self.seen(step) if self._seen else dict(step.continued)


class Float32Replay:
    """A training in float32 beside the user's, on arrays of its own.

    Args:
        builder: Builds the step.
        variables: Values to start from.
        threads: Which inputs continue the outputs of the step before.
        programs: The float32 programs built so far, which all replays of a step share.
        rounded: Round the weights through the step's low format first.
    """

    def __init__(
        self,
        builder: Builder,
        variables: Sequence[Array],
        threads: Threads,
        programs: dict[int, PlainProgram],
        *,
        rounded: bool,
    ) -> None:
        self._builder = builder
        self._initial = list(variables)
        self._threads = threads
        self._rounded = rounded
        self._outputs: list[Array] | None = None
        self._scale: Array | None = None
        self._programs = programs

    @no_checks()
    def advance(self, batch: Batch) -> Outcome:
        """Runs the next step in float32."""
        step, arrays = self._builder.jaxpr_for(self._initial, batch)
        if id(step) not in self._programs:
            self._programs[id(step)] = PlainProgram(step, SHADOW)
        program = self._programs[id(step)]
        inputs = raised_state([*self._initial, *arrays])
        if self._outputs is not None:
            inputs = self._continued(step, program, inputs, self._outputs)
        elif self._rounded:
            program.prepare(inputs)
            inputs = _rounded_through(step, inputs, program.paths)
        ran = program.run(inputs)
        if self._outputs is None and program.scale is not None:
            self._scale = inputs[program.scale]
        self._outputs = ran.outputs
        loss = float(ran.losses[0]) if ran.losses else None
        return Outcome(loss, tuple(map(bool, np.asarray(ran.finite))), program.paths)

    def _continued(
        self,
        step: StepJaxpr,
        program: PlainProgram,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
    ) -> list[Array]:
        positions = self._threads.of(step)
        # Float32 needs no loss scale, so one that would run away must not spoil it.
        fixed = scale_paths(step.observed.optimizers)
        after = [
            outputs[positions[n]] if n in positions and step.paths[n] not in fixed else given
            for n, given in enumerate(inputs)
        ]
        if program.scale is not None:
            after[program.scale] = self._scale
        return after


def _rounded_through(
    step: StepJaxpr, inputs: Sequence[Array], weights: Collection[str]
) -> list[Array]:
    low = step.low_dtype
    return [
        array.astype(low).astype(np.float32)
        if low is not None and path in weights and array.dtype == np.float32
        else array
        for array, path in zip(inputs, step.paths, strict=True)
    ]
