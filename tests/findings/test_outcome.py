"""Whether training suffered: loss curves of every level, length and sign."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from floatline.findings.outcome import Outcome, outcome
from floatline.records import StepRecord, StopReason
from tests.findings.evidence import INF, NAN, curve, evidence, steps

Steps = tuple[StepRecord, ...]


def of(own: Steps, reference: Steps | None = None, perturbed: Steps = ()) -> Outcome:
    return outcome(evidence((), own, reference, perturbed))


def flat(loss: float, count: int = 40) -> Steps:
    return steps([loss] * count)


def wave(level: float, swing: float, count: int = 40) -> Steps:
    return steps([level * (1 + swing * (-1) ** (i // 2)) for i in range(count)])


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        (steps(curve(5e-5, 1.9e-7, 120)), steps(curve(5e-5, 1.8e-9, 120))),
        (steps(curve(4.6, 3.33, 100)), steps(curve(4.6, 2.42, 100))),
        (flat(0.25), steps(curve(0.25, 0.005))),
        (flat(0.0696), steps(curve(0.0696, 1e-7))),
        (flat(-0.1), steps([-0.1 - 0.02 * i for i in range(40)])),
        (flat(14.7, 320), steps(curve(14.0, 0.045, 320))),
    ],
    ids=["tiny", "transformer", "variance", "position", "negative", "softmax"],
)
def test_worse(own: Steps, reference: Steps) -> None:
    assert of(own, reference, reference).worse is True


@pytest.mark.parametrize(
    ("own", "reference", "perturbed"),
    [
        (flat(0.69), flat(0.69), flat(0.69)),
        (flat(0.70), flat(0.69), flat(0.69)),
        (steps(curve(0.7, 1.2e-3)), steps(curve(0.7, 1.0e-3)), steps(curve(0.7, 1.0e-3))),
        (steps(curve(2.3, 2e-4)), steps(curve(2.3, 1e-6)), steps(curve(2.3, 1e-6))),
        (wave(0.5, 0.3), wave(0.4, 0.3), wave(0.41, 0.3)),
        (steps(curve(1.0, 0.16)), steps(curve(1.0, 0.1)), steps(curve(1.0, 0.13))),
        (steps(curve(1.0, 0.1)), steps(curve(1.0, 0.3)), ()),
        (flat(0.0), flat(0.0), flat(0.0)),
        (flat(-1.0), steps([-1.0 - 0.001 * i for i in range(40)]), flat(-1.02)),
    ],
    ids="flat labels solved both noise band better zero negative".split(),
)
def test_not_worse(own: Steps, reference: Steps, perturbed: Steps) -> None:
    assert of(own, reference, perturbed).worse is False


def test_skipped_steps_do_not_count_as_lag() -> None:
    reference = steps(curve(1.0, 0.001))
    late = [1.0] * 12 + [step.loss for step in reference[:28]]
    assert of(steps(late, range(12)), reference).worse is False
    assert of(steps(late), reference).worse is True


def test_too_few_steps_tell_nothing() -> None:
    assert of(flat(1.0, 9), flat(0.1, 9)).worse is None
    assert of(flat(1.0, 10), flat(0.1, 10)).worse is not None
    assert of(flat(1.0)).worse is None
    assert of(steps([None] * 40), flat(0.1)).worse is None


def test_one_outlier_at_the_end_is_not_worse() -> None:
    own = [step.loss for step in steps(curve(1.0, 0.1))]
    own[-3:] = [1.0, 1.0, 1.0]
    assert of(steps(own), steps(curve(1.0, 0.1))).worse is False


@pytest.mark.parametrize(
    ("own", "broken"),
    [
        (steps(curve(1.0, 0.1), range(6), 2.0**15), False),
        (steps(curve(1.0, 0.1), (*range(6), 30), 2.0**15), True),
        (steps(curve(1.0, 0.1, 4000), (0, 1, 2000), 2.0**15), False),
        (steps(curve(1.0, 0.1, 240), range(18), 2.0**15), False),
        (steps(curve(1.0, 0.1), (0, 1, 2, 3, 4, 5, 9, 14, 20), 2.0**15), True),
        (steps(curve(1.0, 0.1), range(33, 40), 2.0**15), True),
        (steps(curve(1.0, 0.1), (38, 39), 2.0**15), False),
        (steps([*curve(1.0, 0.1), NAN]), True),
        (steps(curve(1.0, 0.1), bad=(39,)), True),
        (steps([1.0, NAN, *curve(1.0, 0.1)], (1,), 8.0), True),
    ],
    ids="search search-late growth large-gradients wasted end tail nan bad-gradient once".split(),
)
def test_lost_steps(own: Steps, broken: bool) -> None:
    assert of(own).broken is broken


@pytest.mark.parametrize(
    ("skipped", "count", "stopped", "wasted"),
    [
        (range(31), 117, "budget", False),
        (range(31), 117, "end of training", True),
        (range(31), 60, "budget", True),
        ([*range(31), *range(50, 81)], 140, "budget", True),
        (range(40, 71), 117, "budget", True),
    ],
    ids=["comes once", "is known whole", "hardly over", "comes again", "not at the start"],
)
def test_a_search_that_ended_is_no_waste_of_a_training_that_goes_on(
    skipped: Iterable[int], count: int, stopped: StopReason, wasted: bool
) -> None:
    case = evidence((), steps(curve(1.0, 0.1, count), skipped, 2.0**15))
    history = dataclasses.replace(case.history, stopped=stopped)
    assert outcome(dataclasses.replace(case, history=history)).wasted is wasted


def test_searching_is_only_a_watch_without_any_good_step() -> None:
    assert of(steps([1.0] * 5, range(5), 2.0**15)).searching
    assert not of(steps([1.0] * 5, range(1, 5), 2.0**15)).searching
    assert not of(steps([1.0] * 7, range(7), 2.0**15)).searching


def test_float32_fails_in_the_same_way_or_not() -> None:
    late = steps([1.0] * 900 + [NAN] * 100)
    early = steps([1.0] * 5 + [NAN] * 995)
    assert of(early, early).float32_fails is True
    assert of(early, late).float32_fails is False
    assert of(early, flat(1.0, 1000)).float32_fails is False
    assert of(early).float32_fails is None
    assert of(flat(1.0), steps([INF] * 40)).float32_fails is False
    assert of(steps(curve(1.0, 1e4)), steps(curve(1.0, 1e4))).float32_fails is True


def test_a_loss_that_is_non_finite_in_float32_too_is_not_counted() -> None:
    own = steps([1.0, NAN, 1.0, INF])
    assert of(own).nonfinite_losses == 2
    assert of(own, steps([1.0, NAN, 1.0, 1.0])).nonfinite_losses == 1


def test_a_training_that_leaps_at_its_first_update_began_before_it() -> None:
    thrown_off = [2.0, 1e11, *[13.0, 37.0, 23.0, 48.0, 60.0] * 6]
    lost = of(steps([2.0, *[NAN] * 31], range(1, 32), 2.0**15), steps(thrown_off))
    assert lost.float32_fails
    recovered = [2.0, 1e11, *[13.0, 7.0, 3.0, 2.5, 1.5] * 6]
    found = of(steps([2.0, *[NAN] * 31], range(1, 32), 2.0**15), steps(recovered))
    assert found.float32_fails is False


@pytest.mark.parametrize(
    ("end", "diverged"), [(0.5, False), (1.5, False), (4.0, True), (4e4, True)]
)
def test_a_leap_is_made_up_when_the_loss_comes_back_to_where_it_began(
    end: float, diverged: bool
) -> None:
    leap = [1.0, 0.7, 5e4, 5e6, 9e3]
    assert of(steps([*leap, *[end] * 20])).diverged is diverged


def test_a_loss_that_only_rises_to_a_level_has_made_no_leap() -> None:
    assert of(steps([1e-3, *[4e-3] * 30, *[2.0] * 10])).diverged
    assert not of(steps([1.0, *[4.0] * 40])).diverged


def test_a_fitted_model_that_single_batches_surprise_has_not_diverged() -> None:
    """The losses of a classifier that is right about all rows, and less sure of some."""
    losses = [1.2e-7, 8.5e-7, 9.4e-7, 7.5e-3, 2.0e-6] * 8
    assert not of(steps([*losses, *[8.7e-7] * 5])).diverged
    assert of(steps([1.2e-7, *[7.5e-3] * 20, *[8.7e-7] * 20])).diverged
