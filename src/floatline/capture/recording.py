"""One watched training, from its first batch to the capture, with the user's state put back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import keras

from floatline.backends.interface import Backend, Batch, Step
from floatline.capture.capture import Budget, Capture, Trainee
from floatline.capture.failures import training_error
from floatline.capture.shelving import Shelving
from floatline.capture.state import (
    KeptVariables,
    preserve_attributes,
    preserve_random_generators,
)
from floatline.capture.watch import Watch
from floatline.errors import FloatlineError, TrainingError
from floatline.formats import LOW_FORMATS
from floatline.progress import Progress
from floatline.records import Configuration

_NO_STEP = (
    "Training ran no step: the data gave no batch.",
    "Give at least one batch, and at least one epoch.",
)


class Recording:
    """Watches a training whose batches come one by one; on exit everything is as on entry.

    Args:
        backend: The framework.
        make_step: Makes the step once the first batch is there.
        budget: How long to watch.
        progress: Told of every step.
        model: The Keras model whose `fit` and `train_on_batch` are watched, or None.
        owners: Models and optimizers whose variables are put back. If exactly one of them is a
            model, and a step changes their variables in place, that model is the trainee.
        gives_way: Let the training go on when the budget is spent, if it computes nothing in half
            precision: another may come that does.
    """

    def __init__(
        self,
        backend: Backend,
        make_step: Callable[[], Step],
        *,
        budget: Budget,
        progress: Progress,
        model: Any = None,
        owners: Sequence[Any] = (),
        gives_way: bool = False,
    ) -> None:
        self._backend = backend
        self._make_step = make_step
        self._budget = budget
        self._progress = progress
        self._model = model
        self._owners = tuple(owners) if model is None else (model, *owners)
        self._shelving = Shelving(progress, backend.free_bytes)
        self._gives_way = gives_way
        self._undo = contextlib.ExitStack()
        self._taken_over = contextlib.ExitStack()
        self._step: Step | None = None
        self._watch: Watch | None = None
        self._trained = False
        self._error: TrainingError | None = None

    def __enter__(self) -> Recording:
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._backend.preserve_random_state())
            undo.enter_context(preserve_random_generators())
            self._variables = KeptVariables(self._owners, self._shelving)
            undo.callback(self._variables.restore)
            if self._model is not None:
                undo.enter_context(preserve_attributes(self._model))
                intercepted = self._backend.intercept(self._model, self.advance)
                self._taken_over.enter_context(intercepted)
            undo.enter_context(self._taken_over)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._note_training()
            self._undo.__exit__(kind, error, trace)
        except Exception as broken:
            if self._watch is None or not self._watch.raised:
                raise
            # What a failed check on a GPU has taken along cannot be put back.
            raise training_error(broken) from error

    def close(self) -> None:
        """Ends the watch and puts everything back."""
        self._note_training()
        self._undo.close()

    def leave(self) -> None:
        """Ends the watch; what was trained stays so until everything is put back."""
        self._taken_over.close()

    @property
    def steps(self) -> int:
        """Steps that ran to their end."""
        return 0 if self._watch is None else self._watch.steps

    def advance(self, batch: Batch) -> Any:
        """Runs the user's next step on `batch`; raises BudgetSpent when enough was seen."""
        if self._watch is None:
            self._watch = self._begin(batch)
        return self._watch.advance(batch)

    def takes(self, error: TrainingError) -> bool:
        """Whether a watched step raised the error, which is then part of the capture."""
        if self._watch is None or not self._watch.raised:
            return False
        self._error = error
        return True

    def capture(self, configuration: Configuration, notes: Sequence[str] = ()) -> Capture:
        """What was captured; to be called when the recording is closed.

        Raises:
            TrainingError: No step ran.
        """
        if self._watch is None or self._step is None or not self._watch.steps:
            raise TrainingError(*_NO_STEP)
        history, moments, batches = self._watch.result()
        # A step function's optimizer need not be in sight; that its loss is scaled was seen.
        scaled = any(record.loss_scale is not None for record in history.steps)
        if scaled and not configuration.loss_scaling:
            configuration = dataclasses.replace(configuration, loss_scaling=True)
        return Capture(
            configuration,
            self._step,
            history,
            moments,
            batches,
            (*notes, *filter(None, [self._shelving.note])),
            self._trainee(),
            self._error,
        )

    def _note_training(self) -> None:
        """A pure step leaves variables as they are, and no trial could train it through them."""
        self._trained = self._trained or self._variables.changed()

    def _trainee(self) -> Trainee | None:
        models = [owner for owner in self._owners if isinstance(owner, keras.Model)]
        if len(models) != 1 or not (self._model is not None or self._trained):
            return None
        return Trainee(models[0], self._make_step)

    def _begin(self, batch: Batch) -> Watch:
        if self._model is not None:
            build(self._model, batch)
        # Variables that were made since the recording began are remembered before any step.
        self._variables.remember()
        step = self._make_step()
        step.prepare(batch)
        shelf = self._shelving.decide(step.state_bytes())
        if shelf is not None:
            step.keep_states_on(shelf)
        self._undo.callback(step.restore, step.snapshot())
        self._step = step
        may_end = self._computes_in_half if self._gives_way else lambda: True
        return Watch(step, self._budget, progress=self._progress, may_end=may_end)

    def _computes_in_half(self) -> bool:
        """Whether any value of the first step is one of 16 bits, or none can be looked at."""
        assert self._watch is not None
        assert self._step is not None
        first = self._watch.first
        with self._backend.preserve_random_state(), preserve_random_generators():
            try:
                trace = self._step.trace(first.state, first.batch)
            except FloatlineError:
                return True
        return any(site.dtype in LOW_FORMATS for site in trace.sites)


def build(model: Any, batch: Batch) -> None:
    """Makes the variables of the model, its metrics and its optimizer, if they are not made yet.

    Otherwise the first step would make them, and no snapshot would hold their initial values.
    """
    # Keras' `build` takes shapes and knows neither metrics nor optimizer; this is what its own
    # trainers call with a batch. What it cannot build, the first step builds or reports.
    with contextlib.suppress(Exception):
        model._symbolic_build(data_batch=batch)  # noqa: SLF001
