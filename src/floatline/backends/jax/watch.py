"""Keeping watch on JAX: the state of a training is what its train function is handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, final

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.extend.core import get_opaque_trace_state

from floatline.backends.interface import Batch
from floatline.backends.jax.variables import ModelVariables, values_of
from floatline.backends.watch_interface import (
    Advance,
    Arrived,
    Company,
    Logs,
    Measure,
    Tensor,
    Training,
)


class JaxTraining:
    """One call of Keras' train function, with the state that it is given and gives back.

    Args:
        function: The train function.
        state: What it is given.
        taken: Its batches.
        places: For the identity of a variable, its group in the state and its place there.
    """

    def __init__(
        self,
        function: Any,
        state: Any,
        taken: tuple[Batch, ...],
        places: dict[int, tuple[int, int]],
    ) -> None:
        self.state = state
        self.taken = taken
        self._function = function
        self._places = places

    def take(self) -> tuple[Batch, ...]:
        """The batches."""
        return self.taken

    def step(self) -> Logs:
        """Runs the train function once."""
        logs, self.state = self._function(self.state, iter(self.taken))
        return logs

    def again(self, batch: Batch) -> Logs:
        """Runs it on one batch of before."""
        logs, self.state = self._function(self.state, iter((batch,)))
        return logs

    def values(self, variables: Sequence[Any]) -> list[Tensor]:
        """The values of variables at this moment."""
        places = [self._places[id(variable)] for variable in variables]
        return [self.state[group][place] for group, place in places]

    def put(self, variables: Sequence[Any], values: Sequence[Tensor]) -> None:
        """Gives variables copies of these values, for a step overwrites its state."""
        state = [list(group) for group in self.state]
        for variable, value in zip(variables, _copies(list(values)), strict=True):
            group, place = self._places[id(variable)]
            state[group][place] = value
        self.state = tuple(state)


@final
class JaxWatch:
    """The operations of a watch on JAX."""

    def company(self, model: Any) -> Company:
        """The processes; devices of one process are one to a compiled function."""
        del model
        count = jax.process_count()
        if count == 1:
            return Company()
        first = jax.process_index() == 0
        return Company(f"{count} processes train together", first, others=True)

    def tapped(self, model: Any, function: Any, advance: Advance) -> Any:
        """Stands in for the train function."""
        places = _places(ModelVariables(model).groups())

        def train_function(state: Any, iterator: Any) -> tuple[Logs, Any]:
            taken = tuple(islice(iterator, model.steps_per_execution))
            if not taken:
                raise StopIteration
            training = JaxTraining(function, state, taken, places)
            return advance(training), training.state

        return train_function

    def resting(self, model: Any, function: Any) -> Training:
        """The state is that of the model."""
        groups = ModelVariables(model).groups()
        return JaxTraining(function, tuple(map(values_of, groups)), (), _places(groups))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled with `jax.jit`."""
        return jax.jit(function)  # type: ignore[no-any-return]  # (JAX carries no types)

    def copied(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Copies, in one call."""
        copies: list[Tensor] = _copies(list(values))
        return copies

    def fetched(self, values: Sequence[Any]) -> Arrived:
        """Copies first, for the next step overwrites its state."""
        copies = _copies(list(values))
        for copy in copies:
            copy.copy_to_host_async()
        return lambda: [np.asarray(copy) for copy in copies]

    def measuring(
        self, model: Any, measure: Measure
    ) -> Callable[[Training, Sequence[Any], Batch], Any]:
        """Compiles the measurement; the step is a pure function, whose new state is dropped."""
        variables = ModelVariables(model)
        step = getattr(model.train_step, "guards", model.train_step)

        @jax.jit  # type: ignore[untyped-decorator]  # (JAX carries no types)
        def compute(values: list[Tensor], batch: Batch) -> Any:
            known = variables.all()

            def scope() -> keras.StatelessScope:
                return keras.StatelessScope(list(zip(known, values, strict=True)))

            return measure(lambda: step(variables.grouped(values), batch), scope, batch)

        def run(training: Training, _variables: Sequence[Any], batch: Batch) -> Any:
            return compute(training.values(variables.all()), batch)

        return run

    def random_state(self) -> list[Tensor]:
        """None: JAX has no hidden state."""
        return []

    def put_random_state(self, state: Sequence[Tensor]) -> None:
        """Nothing is to be put back."""

    def frame(self) -> Any:
        """The trace that operations are recorded in at present."""
        return get_opaque_trace_state(convention="flax")


def _places(groups: Sequence[Sequence[Any]]) -> dict[int, tuple[int, int]]:
    return {
        id(variable): (number, place)
        for number, group in enumerate(groups)
        for place, variable in enumerate(group)
    }


@jax.jit  # type: ignore[untyped-decorator]  # (as above)
def _copies(values: list[Tensor]) -> list[Tensor]:
    return [jnp.copy(value) for value in values]


KERNELS = JaxWatch()
