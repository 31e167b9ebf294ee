"""Does the same training give the same losses twice? If not, the difference is noise."""

from __future__ import annotations

import dataclasses

from floatline.records import Reference, StepRecord
from floatline.trials.bench import Bench

PROBE_STEPS = 10
"""Steps that are repeated to find out; chance in a model shows in the first ones."""

SAME = 1e-3
"""Relative difference of losses that sums in another order may cause within those steps."""

NOTE = (
    "The training is not deterministic: the same float32 training gives other losses each time. "
    "What chance changes is allowed to a trial as well."
)


def with_chance(bench: Bench, reference: Reference, seconds: float) -> Reference:
    """The reference, with the same training once more if it is not deterministic.

    Args:
        bench: Trains in float32 again.
        reference: The float32 training of the diagnosis.
        seconds: Limit for each of two trainings.
    """
    probe = bench.train_in_float32(min(PROBE_STEPS, len(reference.steps)), seconds)
    if same(probe.steps, reference.steps):
        return reference
    again = bench.train_in_float32(len(reference.steps), seconds)
    return dataclasses.replace(reference, repeated=again.steps)


def same(one: tuple[StepRecord, ...], other: tuple[StepRecord, ...]) -> bool:
    """Whether two trainings agree as far as both go.

    Example:

    >>> one = (StepRecord(0, 1.0), StepRecord(1, 0.5))
    >>> same(one, one), same(one, (StepRecord(0, 1.0), StepRecord(1, 0.6)))
    (True, False)
    """
    pairs = ((a.loss, b.loss) for a, b in zip(one, other, strict=False))
    return all(_close(a, b) for a, b in pairs if a is not None and b is not None)


def _close(one: float, other: float) -> bool:
    if one != one or other != other:  # NaN in both is the same failure.
        return one != one and other != other
    return one == other or abs(one - other) <= SAME * max(abs(one), abs(other))
