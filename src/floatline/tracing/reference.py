"""The same training in float32: what the precision is compared with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice

from floatline.backends.interface import Batch, Outcome
from floatline.capture.capture import Capture
from floatline.errors import FloatlineError, OutOfMemoryError
from floatline.headlines import headline, same_kind
from floatline.progress import Progress
from floatline.records import Reference, StepRecord

STEPS_AFTER_ERROR = 20
"""How far float32 goes on after the step that raised: enough to compare its losses with others."""


def train_reference(
    capture: Capture,
    seconds: float,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Reference:
    """Trains in float32 from the first state on the batches that were kept.

    Three times: the step as it was built with every operation raised to float32; the same from
    weights that were rounded through the low format, a disturbance that a healthy training does
    not mind, so that the distance between the two is float32's own noise; and the step built anew
    with every layer in float32.

    Args:
        capture: The watched training.
        seconds: Limit for each of the three, from the end of its first step on.
        progress: Told about every step.
        clock: Seconds that only grow.
    """
    plain, short = _train(capture, seconds, progress, clock)
    if short is not None:  # So it is for the other two.
        return Reference(plain, short=short)
    rounded, short = _train(capture, seconds, progress, clock, rounded=True)
    try:
        rebuilt, short_too = _train(capture, seconds, progress, clock, rebuilt=True)
    except FloatlineError:
        rebuilt, short_too = (), None
    if any(step.raised for step in rebuilt):
        rebuilt = ()  # User code that insists on its own dtypes; the other two stand.
    return Reference(plain, rounded, rebuilt, short=short or short_too)


def train_on_others(
    capture: Capture,
    seconds: float,
    progress: Progress,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[StepRecord, ...]:
    """Trains in float32 as above, but on targets that belong to other inputs, dealt out by `seed`.

    A training whose loss ends no lower than this one's learns nothing from its inputs.

    Returns:
        The steps; none where the batches are not those of `fit` with inputs and targets, or where
        the training cannot do with others.
    """
    if capture.trainee is None:
        return ()
    # It brings Keras along, which must not be imported before the script has chosen its backend.
    from floatline.tracing.control import compares_row_by_row, dealt_out

    if not compares_row_by_row(capture.trainee.model):
        return ()
    batches = dealt_out([_as_handed(capture, batch) for batch in _batches(capture)], seed)
    try:
        steps, _ = _train(capture, seconds, progress, clock, batches=batches)
    except FloatlineError:
        return ()  # Nobody has asked for float32 yet, so it need not be possible.
    return () if any(step.raised for step in steps) else steps


def _as_handed(capture: Capture, batch: Batch) -> Batch:
    """The batch as Keras hands it to a step; it may have been kept in another form."""
    rows = capture.step.rows(batch)
    return batch if rows is None else capture.step.picked(batch, range(rows))


def _train(
    capture: Capture,
    seconds: float,
    progress: Progress,
    clock: Callable[[], float],
    *,
    rounded: bool = False,
    rebuilt: bool = False,
    batches: Sequence[Batch] | None = None,
) -> tuple[tuple[StepRecord, ...], str | None]:
    """The steps of one training, and what ended it if memory did."""
    if not capture.moments:
        return (), None
    replay = capture.step.float32(capture.moments[0].state, rounded=rounded, rebuilt=rebuilt)
    records: list[StepRecord] = []
    deadline = None
    batches = _batches(capture) if batches is None else batches
    for index, batch in enumerate(batches):
        try:
            records.append(record(index, replay.advance(batch)))
        except OutOfMemoryError as error:
            return tuple(records), error.message
        except FloatlineError:
            raise
        except Exception as error:  # noqa: BLE001 (a step of the user's may raise anything)
            # The error of the training itself is float32's, too; any other is of this replay.
            if same_kind(capture.history.steps[-1].raised, headline(error)):
                records.append(StepRecord(index, math.nan, raised=headline(error)))
            break
        progress("training in float32", index + 1, len(batches))
        # The first step is compiled, which takes as long as it takes.
        deadline = clock() + seconds if deadline is None else deadline
        if clock() > deadline:
            break
    return tuple(records), None


def _batches(capture: Capture) -> Sequence[Batch]:
    """Those that were kept; after an error, which let no more come, the same ones again."""
    known = capture.batches
    if capture.error is None or not known:
        return known
    return tuple(islice(cycle(known), len(known) + STEPS_AFTER_ERROR))


def record(index: int, outcome: Outcome) -> StepRecord:
    """What history keeps of an outcome."""
    pairs = zip(outcome.variables, outcome.finite, strict=True)
    return StepRecord(
        step=index,
        loss=outcome.loss,
        finite_gradients=all(outcome.finite),
        nonfinite_variables=tuple(path for path, finite in pairs if not finite),
        skipped=not outcome.applied,
        loss_scale=outcome.loss_scale,
    )
