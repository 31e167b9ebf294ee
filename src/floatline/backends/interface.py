"""The seam: what every backend promises, and the only view of a framework that a stage has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from floatline.backends.shelf import Shelf
from floatline.records import SourceLine, Trace

Batch = Any
"""What the framework's own training hands to one step: a tensor or a nest of tensors."""

State = Any
"""Values of every variable that a step can touch; opaque outside the backend."""

StepKind = Literal["", "full", "half"]
"""What a compiled function is: no training step, one in full precision only, or one that computes
in half precision."""

CallHandler = Callable[[Any, Callable[[], StepKind], tuple[Any, ...], Mapping[str, Any]], Any]
"""Answers a call: the function, what kind of a step it is (built to find out), arguments."""

Notes = Callable[[], tuple[str, ...]]
"""Tells what a reader must know."""

LayerSource = Callable[[Any], SourceLine | None]
"""The user's line that made a layer, where it is known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the light watch reads after one step, on the host.

    Attributes:
        loss: The loss before loss scaling; None when the step differentiates no scalar.
        finite: For every gradient handed to the optimizer, whether all its values were finite.
        variables: Paths of the variables those gradients belong to, in the same order.
        loss_scale: The loss scale used by this step, or None.
        applied: Whether the optimizer changed the weights (False: a loss scale skipped the step).
    """

    loss: float | None
    finite: tuple[bool, ...] = ()
    variables: tuple[str, ...] = ()
    loss_scale: float | None = None
    applied: bool = True


class Replay(Protocol):
    """A training in float32 beside the user's: same step, same batches, its own state."""

    def advance(self, batch: Batch) -> Outcome:
        """Runs the next step in float32; the user's variables are not touched.

        Raises:
            OutOfMemoryError: It does not fit into memory.
        """
        ...


class Step(Protocol):
    """One training step of the user's: compiled as the user compiled it, observed from outside."""

    def prepare(self, batch: Batch) -> None:
        """Builds the step for `batch` without running it, so that its variables exist.

        What cannot be built is left to `run`, which reports it.
        """
        ...

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        """Runs the real step on the real variables; returns what it returned, and its outcome."""
        ...

    def remembered(self, batch: Batch) -> Batch:
        """The batch of the step that has just run, for a float32 training, which takes all in turn.

        What the step before has returned need not be in it, for that training has its own.
        """
        ...

    def keep_states_on(self, shelf: Shelf) -> None:
        """Snapshots keep their large values there from now on, one after the other."""
        ...

    def state_bytes(self) -> int:
        """Bytes that the values of a snapshot take."""
        ...

    def snapshot(self) -> State:
        """Copies the values of every variable that the step can touch."""
        ...

    def restore(self, state: State) -> None:
        """Puts a snapshot back, bit for bit."""
        ...

    def trace(self, state: State, batch: Batch) -> Trace:
        """Runs the step from `state` with a float32 shadow; the user's variables are not touched.

        A step that raises is traced up to there, or beyond the check that raised. `step`, `moment`
        and `agrees` of the trace are the caller's to fill in.

        Raises:
            OutOfMemoryError: It does not fit into memory; what it held there is free again.
        """
        ...

    def rows(self, batch: Batch) -> int | None:
        """How many rows a batch has: the leading dimension of all its arrays that are no state.

        None where they share none, so that the batch cannot be taken apart.
        """
        ...

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """The batch with some of its rows, which may come more than once."""
        ...

    def seeded(self, seed: float) -> Step:
        """The same step with the same variables, whose backward passes start at `seed`, not 1.

        What is differentiated again starts at 1 as ever. A batch of any size is built for itself.
        """
        ...

    def float32(self, state: State, *, rounded: bool = False, rebuilt: bool = False) -> Replay:
        """Starts the same training in float32 from `state`.

        Args:
            state: A snapshot.
            rounded: Round the initial weights through the step's low format first.
            rebuilt: Build the step anew with every layer in float32, instead of raising every
                operation of the step as it was built. A library may choose other operations in
                float32, and a literal or a table is then not rounded before the step sees it; but
                random numbers are then drawn anew.
        """
        ...


class Backend(Protocol):
    """A framework under Keras."""

    name: str

    def framework(self) -> str:
        """Name and version of the framework."""
        ...

    def device(self) -> str:
        """The device that training runs on, in words."""
        ...

    def free_bytes(self) -> int | None:
        """Memory that the device has left; None for the host's own, and where it is not told."""
        ...

    def keras_step(self, model: Any, layer_source: LayerSource) -> Step:
        """The training step of a compiled Keras model.

        Args:
            model: The model.
            layer_source: The user's line that made a layer, where it is known.
        """
        ...

    def function_step(self, function: Callable[..., Any], layer_source: LayerSource) -> Step:
        """The training step that a user wrote as a function of one batch.

        A batch that is a tuple fills the function's parameters, any other batch its first one.
        """
        ...

    def intercept(
        self, model: Any, advance: Callable[[Batch], Any]
    ) -> AbstractContextManager[None]:
        """While active, `fit` and `train_on_batch` of `model` hand every batch to `advance`.

        What `advance` returns stands in for the logs of the step. Everything else that Keras does
        in `fit` (epochs, shuffling, callbacks, validation, class weights) stays Keras' own. On
        exit the model's own compiled functions are back.
        """
        ...

    def find_steps(self, handler: CallHandler) -> AbstractContextManager[Notes]:
        """While active, a script runs, and calls of its compiled functions go to `handler`.

        Only outermost calls do: what a step calls is part of it. The handler decides whether the
        call takes its course. What is entered tells how the script ran otherwise than it stands.
        """
        ...

    def preserve_random_state(self) -> AbstractContextManager[None]:
        """On exit, the framework's global random state is what it was on entry."""
        ...
