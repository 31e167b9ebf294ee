"""The same training in float32 on JAX, on arrays of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from floatline.backends.interface import Batch, Outcome
from floatline.backends.jax.builder import Builder, StepJaxpr
from floatline.backends.jax.checks import no_checks
from floatline.backends.jax.lanes import SHADOW, Array
from floatline.backends.jax.memory import ran_short
from floatline.backends.jax.programs import PlainProgram, raised_state
from floatline.backends.jax.threads import Threads
from floatline.backends.jax.variables import scale_paths
from floatline.backends.memory import within_memory


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
        return within_memory(lambda: self._advance(batch), ran_short)

    def _advance(self, batch: Batch) -> Outcome:
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
