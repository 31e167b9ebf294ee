"""The light watch: runs the user's steps, notes what they did, keeps the moments worth tracing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from floatline.backends.interface import Batch, Outcome, State, Step
from floatline.capture.batches import kept, size_in_bytes
from floatline.capture.capture import Budget, KeptMoment
from floatline.errors import FloatlineError
from floatline.headlines import headline
from floatline.progress import Progress, silent
from floatline.records import History, Moment, StepRecord, StopReason

STAGE = "watching the training"
UNWATCHED = "letting a training in float32 go on, before the one in half precision"

# A loss scale is halved by every skipped step. 25 in a row take Keras' 32768 down to 2**-10, which
# hardly a healthy training needs (a scale below 1 shrinks the gradients): the failure is permanent.
CONFIRMING_BAD_STEPS = 25

# Only a loss in large units does, such as squared dollars: its scale is searched, with a loss that
# is finite, down to where gradients of 2**36 fit.
LEAST_SCALE = 2.0**-20

# A non-finite loss whose update was applied leaves non-finite weights behind; ten such losses in a
# row are no accident of one batch.
CONFIRMING_BAD_LOSSES = 10

# Batches kept for the float32 training beside the user's: half a gibibyte is hundreds of batches
# of images and still fits beside the model on a laptop.
BATCH_BYTES = 512 * 2**20

# One step can be worth tracing for several reasons; it is traced once, under the most telling.
_TELLING: tuple[Moment, ...] = ("symptom", "last symptom", "first", "last")


class BudgetSpent(BaseException):
    """Ends the user's training; not an Exception, so that the user's handlers let it through."""


class Watch:
    """Runs one training step after the other and decides when enough was seen.

    Args:
        step: The user's training step.
        budget: How long to watch.
        clock: Seconds that only grow.
        progress: Told of every step.
        batch_bytes: How many bytes of batches to keep for the float32 training.
        may_end: Asked when the budget is spent: if False, the training goes on without the watch.
    """

    def __init__(
        self,
        step: Step,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress = silent,
        batch_bytes: int = BATCH_BYTES,
        may_end: Callable[[], bool] = lambda: True,
    ) -> None:
        self._step = step
        self._budget = budget
        self._clock = clock
        self._progress = progress
        self._bytes_left = batch_bytes
        self._records: list[StepRecord] = []
        self._moments: dict[Moment, KeptMoment] = {}
        self._batches: list[Batch] = []
        self._stopped: StopReason = "end of training"
        self._started = clock()
        self._first_ended: float | None = None
        self._ended = self._started
        self._updates = 0
        self._bad_steps = 0
        self._bad_losses = 0
        self._poisoned = False
        self._may_end = may_end
        self._over = False
        self._hands_over = False

    @property
    def steps(self) -> int:
        """Steps that ran, one that raised included."""
        return len(self._records)

    @property
    def raised(self) -> bool:
        """Whether the last step ended with an error."""
        return self._stopped == "error"

    def advance(self, batch: Batch) -> Any:
        """Runs the next step on `batch` and returns what the step returned.

        Raises:
            BudgetSpent: Enough was seen; the step has run and is recorded.
            Exception: What the step raises; it is recorded with its state and batch.
        """
        if self._over:
            self._progress(UNWATCHED)
            return self._step.run(batch)[0]
        batch = kept(batch)
        state = self._step.snapshot()
        try:
            returned, outcome = self._step.run(batch)
        except KeyboardInterrupt:
            self._stopped = "interrupted"
            raise
        except Exception as error:
            self._note_error(error, state, batch)
            raise
        self._stopped = "end of training"
        record = _record(self.steps, outcome)
        self._keep(record, state, batch, updates=bool(outcome.variables))
        self._records.append(record)
        self._ended = self._clock()
        if self._first_ended is None:
            self._first_ended = self._ended
        self._progress(STAGE, self.steps, self._budget.steps)
        self._stop_if_enough(record)
        return returned

    @property
    def first(self) -> KeptMoment:
        """The first step that ran."""
        return self._moments["first"]

    def result(self) -> tuple[History, tuple[KeptMoment, ...], tuple[Batch, ...]]:
        """What was seen, the steps to trace in order of time, and the first batches."""
        history = History(tuple(self._records), self._stopped, self._ended - self._started)
        return history, self._merged_moments(), tuple(self._batches)

    def _note_error(self, error: Exception, state: State, batch: Batch) -> None:
        """A check of the framework's or the user's may have met the numbers that are looked for."""
        if isinstance(error, FloatlineError):
            return
        record = StepRecord(self.steps, math.nan, raised=headline(error))
        self._keep(record, state, batch)
        self._records.append(record)
        self._ended = self._clock()
        self._stopped = "error"

    def _keep(self, record: StepRecord, state: Any, batch: Batch, *, updates: bool = False) -> None:
        def keep(moment: Moment) -> None:
            self._moments[moment] = KeptMoment(record.step, moment, state, batch)

        if record.step == 0:
            keep("first")
        if is_bad(record):
            if self._is_first_of_its_kind(record):
                keep("symptom")
            elif record.loss_scale != 0 and (not self._poisoned or self._loses_the_first(record)):
                keep("last symptom")
        self._poisoned = self._poisoned or _poisons(record)
        # Where gradients are accumulated, only some steps hand them over: those show an update.
        if updates or not self._hands_over or record.raised is not None:
            keep("last")
        self._hands_over = self._hands_over or updates
        self._keep_batch(self._step.remembered(batch))

    def _is_first_of_its_kind(self, record: StepRecord) -> bool:
        """The first bad step, unless a later one is the first to lose more than an update.

        Skipped steps may be no more than the search for the loss scale; a loss that is not finite
        is a fault, and so is an update that leaves the weights without a finite one.
        """
        if "symptom" not in self._moments:
            return True
        first = self._records[self._moments["symptom"].step]
        if self._poisoned or _loss_is_not_finite(first):
            return False
        return _poisons(record) or _loss_is_not_finite(record)

    def _loses_the_first(self, record: StepRecord) -> bool:
        """Whether a loss is the first that is not finite: a loop may have skipped steps itself."""
        return _loss_is_not_finite(record) and not any(map(_loss_is_not_finite, self._records))

    def _keep_batch(self, batch: Batch) -> None:
        # The float32 training needs the first batches without a gap: the first that does not fit
        # ends the keeping, even if a smaller one follows.
        size = size_in_bytes(batch)
        if size > self._bytes_left:
            self._bytes_left = -1
        else:
            self._bytes_left -= size
            self._batches.append(batch)

    def _stop_if_enough(self, record: StepRecord) -> None:
        self._updates += not is_bad(record)
        self._bad_steps = self._bad_steps + 1 if is_bad(record) else 0
        self._bad_losses = self._bad_losses + 1 if _loss_lost(record) else 0
        stalled = self._bad_steps >= CONFIRMING_BAD_STEPS and not self._searches()
        if stalled or self._bad_losses >= CONFIRMING_BAD_LOSSES:
            self._stopped = "symptom"
        elif self.steps >= self._budget.steps or self._seconds_spent():
            self._stopped = "budget"
            self._over = not self._may_end()
        if self._stopped != "end of training" and not self._over:
            raise BudgetSpent

    def _searches(self) -> bool:
        """Whether the loss scale may yet find its place: it falls, and the loss is finite."""
        row = self._records[-CONFIRMING_BAD_STEPS:]
        scales = [record.loss_scale for record in row if record.loss_scale is not None]
        if len(scales) < len(row) or any(map(_loss_is_not_finite, row)):
            return False
        return LEAST_SCALE < scales[-1] < scales[0]

    def _seconds_spent(self) -> bool:
        # Counted from the end of the first step, whose time is nearly all compilation.
        first_ended = self._ended if self._first_ended is None else self._first_ended
        return self._ended - first_ended >= self._budget.seconds_after(self._updates)

    def _merged_moments(self) -> tuple[KeptMoment, ...]:
        by_step: dict[int, KeptMoment] = {}
        for label in _TELLING:
            if label in self._moments:
                by_step.setdefault(self._moments[label].step, self._moments[label])
        return tuple(by_step[step] for step in sorted(by_step))


def is_bad(record: StepRecord) -> bool:
    """Whether a step shows a symptom: non-finite loss or gradients, or a skipped update."""
    return _loss_is_not_finite(record) or not record.finite_gradients or record.skipped


def _loss_is_not_finite(record: StepRecord) -> bool:
    return record.loss is not None and not math.isfinite(record.loss)


def _poisons(record: StepRecord) -> bool:
    """Whether the step left weights behind that are not finite: what follows explains nothing."""
    return not record.skipped and (not record.finite_gradients or _loss_is_not_finite(record))


def _loss_lost(record: StepRecord) -> bool:
    return _loss_is_not_finite(record) and not record.skipped


def _record(step: int, outcome: Outcome) -> StepRecord:
    nonfinite = tuple(
        path for path, finite in zip(outcome.variables, outcome.finite, strict=True) if not finite
    )
    return StepRecord(
        step=step,
        loss=outcome.loss,
        finite_gradients=all(outcome.finite),
        nonfinite_variables=nonfinite,
        skipped=not outcome.applied,
        loss_scale=outcome.loss_scale,
    )
