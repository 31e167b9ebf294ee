"""Whether a trial held its own against float32, from plain numbers."""

from __future__ import annotations

import math

import pytest

from floatline.records import Configuration, Evidence, History, Reference, StepRecord
from floatline.trials.verdict import final_loss, lags, verdict
from tests.findings.evidence import configuration, curve, steps

SETTING = Configuration("mixed_float16")
COUNT = 40
FALLING = tuple(StepRecord(i, 1.0 / (i + 1)) for i in range(COUNT))
REFERENCE = Reference(FALLING, FALLING)


def broken_from(first: int) -> tuple[StepRecord, ...]:
    return tuple(
        StepRecord(i, 1.0 / (i + 1) if i < first else math.nan, finite_gradients=i < first)
        for i in range(COUNT)
    )


def skipping_every(period: int) -> tuple[StepRecord, ...]:
    return tuple(
        StepRecord(i, 1.0 / (i + 1), finite_gradients=i % period > 0, skipped=i % period == 0)
        for i in range(COUNT)
    )


@pytest.mark.parametrize(
    ("steps", "expected", "reason"),
    [
        (FALLING, "fixed", "0 of 40 steps were skipped"),
        (broken_from(30), "not fixed", "not finite or skipped"),
        (skipping_every(2), "not fixed", "20 of 40 steps were skipped"),
        (tuple(StepRecord(i, 1.0) for i in range(COUNT)), "not fixed", "in float32 at"),
        (tuple(StepRecord(i, 1.1**i) for i in range(COUNT)), "not fixed", "diverged"),
        (FALLING[:4], "undecided", "too short"),
    ],
)
def test_verdicts(steps: tuple[StepRecord, ...], expected: str, reason: str) -> None:
    found, why = verdict(SETTING, steps, REFERENCE)
    assert found == expected
    assert reason in why


def test_the_final_loss_is_the_median_of_the_last_finite_ones() -> None:
    losses = (9.0, 1.0, 2.0, math.inf, 3.0, None)
    steps = tuple(StepRecord(i, loss) for i, loss in enumerate(losses))
    assert final_loss(steps) == 2.0
    assert final_loss(()) is None


def test_what_the_loss_has_shown_the_loss_must_cure() -> None:
    good, flat = steps(curve(1.0, 0.1)), steps([1.0] * 40)
    ill = Evidence(configuration(), History(flat), (), Reference(good))
    assert lags(ill, curve(1.0, 0.1)) is None
    assert lags(ill, []) is None
    fault = lags(ill, [1.0] * 40)
    assert fault is not None
    assert "in float32 at 0.1" in fault
    assert lags(ill, [*curve(1.0, 0.1), *[1.0] * 80]) is None  # Float32 was trained for 40 steps.


def test_what_else_was_wrong_is_not_held_against_the_loss() -> None:
    good, flat = steps(curve(1.0, 0.1)), [1.0] * 40
    assert lags(Evidence(configuration(), History(steps(flat))), flat) is None
    sound = Evidence(configuration(), History(good), (), Reference(good))
    assert lags(sound, flat) is None
