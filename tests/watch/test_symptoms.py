"""When a training has failed, and when it has not: plain readings."""

from __future__ import annotations

import math

import pytest

from floatline.watch.losses import Losses
from floatline.watch.records import Reading, ScaleReading
from floatline.watch.symptoms import STALLED_STEPS, diverged, symptom


def reading(loss: float | None, scaling: ScaleReading | None = None) -> Reading:
    return Reading(25, 0, loss, scaling)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_failure(loss: float) -> None:
    found = symptom([reading(1.0), reading(loss)])
    assert found is not None
    assert found.kind == "non-finite"


def test_a_loss_scale_may_skip_such_a_loss() -> None:
    assert symptom([reading(math.nan, ScaleReading(1024.0, 1, 1))]) is None


@pytest.mark.parametrize(("consecutive", "fails"), [(STALLED_STEPS - 1, False), (25, True)])
def test_a_scale_that_only_skips_is_stalled(consecutive: int, fails: bool) -> None:
    found = symptom([reading(1.0, ScaleReading(1.0, 30, consecutive, "dense/kernel"))])
    assert (found is not None) == fails
    if found is not None:
        assert found.kind == "stalled-scale"
        assert "dense/kernel" in found.message


def test_weights_that_are_not_finite_are_a_failure_with_a_finite_loss() -> None:
    found = symptom([Reading(25, 0, 0.5, bad_weight="dense/kernel")])
    assert found is not None
    assert found.kind == "non-finite"


@pytest.mark.parametrize(
    "losses",
    [
        [2.3, 2.0, 1.5, 1.0, 0.7, 0.5],
        [2.3, 0.1, 2.3, 2.4, 2.2, 2.5],
        [0.1, 0.2, 0.1, 0.9, 0.1, 0.2],
        [-1.0, -4.0, -3.0, 2.0, 1.0, 0.0],
        [1e6, 1e4, 1e2, 1e3, 1e3, 1e3],
        [1.0, 50.0, 60.0, 0.5],
        [],
    ],
)
def test_losses_that_wander_do_not_diverge(losses: list[float]) -> None:
    assert not diverged(losses)


def test_a_loss_far_above_all_it_ever_was_diverges() -> None:
    assert diverged([1.0, 0.4, 12.0, 120.0, 1e4])
    found = symptom([reading(loss) for loss in (1.0, 0.4, 12.0, 120.0, 1e4)])
    assert found is not None
    assert found.kind == "divergence"


def test_the_loss_of_the_latest_steps_is_taken_out_of_the_running_mean() -> None:
    per_step = [5.0, 3.0, 4.0, 1.0, 2.0, 9.0]
    losses, seen = Losses(), []
    for steps in (2, 4, 6):
        seen.append(losses.since(sum(per_step[:steps]) / steps, steps))
    assert seen == pytest.approx([4.0, 2.5, 5.5])
    losses.begin()
    assert losses.since(7.0, 1) == 7.0
