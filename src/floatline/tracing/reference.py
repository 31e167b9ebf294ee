"""The same training in float32: what the precision is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable

from floatline.backends.interface import Outcome
from floatline.capture.capture import Capture
from floatline.progress import Progress
from floatline.records import Reference, StepRecord


def train_reference(
    capture: Capture,
    seconds: float,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Reference:
    """Trains in float32 from the first state on the batches that were kept.

    Twice: once as it is, and once from weights that were rounded through the low format. Rounding
    is a disturbance that a healthy training does not mind, so the distance between the two is
    float32's own noise.

    Args:
        capture: The watched training.
        seconds: Limit for each of the two.
        progress: Told about every step.
        clock: Seconds that only grow.
    """
    plain = _train(capture, seconds, progress, clock, rounded=False)
    return Reference(plain, _train(capture, seconds, progress, clock, rounded=True))


def _train(
    capture: Capture,
    seconds: float,
    progress: Progress,
    clock: Callable[[], float],
    *,
    rounded: bool,
) -> tuple[StepRecord, ...]:
    if not capture.moments:
        return ()
    stage = "Float32 again, from rounded weights" if rounded else "The same in float32"
    replay = capture.step.float32(capture.moments[0].state, rounded=rounded)
    deadline = clock() + seconds
    records = []
    for index, batch in enumerate(capture.batches):
        records.append(record(index, replay.advance(batch)))
        progress(stage, index + 1, len(capture.batches))
        if clock() > deadline:
            break
    return tuple(records)


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
