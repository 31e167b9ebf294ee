"""A model that learns nothing from its inputs is told from one that need not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from floatline.findings.learning import DEALS, gains, learns_little, may_learn_nothing
from floatline.findings.rule import Clear, Found
from floatline.records import Evidence, History, Reference, StepRecord
from tests.findings.evidence import check, conclude, configuration, curve, evidence, steps
from tests.findings.shuffled import trace_of_a_loss

Steps = tuple[StepRecord, ...]

STEPS = 100


def batches(level: float, spread: float = 0.1, lag: float = 0.0) -> Steps:
    """Losses around a level that follow their batch; `lag` is what each step adds of its own."""
    return steps([level + spread * math.sin(7 * i) + lag * math.cos(5 * i) for i in range(STEPS)])


def deals(*levels: float, lag: float = 0.01) -> tuple[Steps, ...]:
    """Trainings on other targets that end at these levels."""
    return tuple(batches(level, lag=lag) for level in levels)


def training(
    own: Steps,
    others: tuple[Steps, ...],
    stopped: str = "end of training",
    rebuilt: Steps = (),
    epochs: int = 5,
) -> Evidence:
    told = evidence([trace_of_a_loss()], own, own, config=replace(configuration(), epochs=epochs))
    history = History(own, stopped)  # type: ignore[arg-type]  # (one of its literals)
    return replace(told, history=history, reference=Reference(own, (), rebuilt, dealt_out=others))


ALIKE = deals(1.0, 0.99, 1.02)


def test_targets_that_have_nothing_to_do_with_their_inputs_are_no_fault_of_the_precision() -> None:
    judgement = conclude(training(batches(1.0), ALIKE))
    assert (judgement.verdict, judgement.findings[0].rule) == ("not-precision", "FL606")
    assert "learns nothing from its inputs" in judgement.findings[0].summary


@pytest.mark.parametrize("level", [1.02, 1.2, 5.0])
def test_targets_that_gain_a_little_in_every_training_are_learned(level: float) -> None:
    """A fitted model whose loss is flat, or one whose penalty outweighs its loss."""
    others = deals(level, level + 0.001, level - 0.001)
    assert conclude(training(batches(1.0), others)).verdict == "healthy"


def test_what_is_learned_by_heart_differs_from_deal_to_deal() -> None:
    assert conclude(training(batches(1.0), deals(1.02, 1.0, 1.04))).verdict == "not-precision"


def test_targets_that_the_loss_does_not_know_show_nothing() -> None:
    """What `fit` asks for, and a train step of one's own ignores, may be anything."""
    assert isinstance(check("FL606", training(batches(1.0), (batches(1.0),) * DEALS)), Clear)


def test_losses_that_scatter_too_much_show_nothing() -> None:
    others = deals(1.0, 0.9, 1.1)
    assert isinstance(check("FL606", training(batches(1.0), others)), Clear)
    (gain,) = gains(Reference(batches(1.0), dealt_out=others))
    assert gain.others - gain.loss < 2 * gain.error


def test_one_training_on_others_is_not_enough_and_asks_for_more_where_it_ends_alike() -> None:
    once = training(batches(1.0), ALIKE[:1])
    assert isinstance(check("FL606", once), Clear)
    assert may_learn_nothing(Reference(batches(1.0), dealt_out=ALIKE[:1]))
    assert not may_learn_nothing(Reference(batches(1.0), dealt_out=deals(2.0)))
    assert not may_learn_nothing(Reference(batches(1.0), dealt_out=((),)))


@pytest.mark.parametrize(("stopped", "epochs"), [("budget", 5), ("end of training", 1)])
def test_a_short_training_is_advised(stopped: str, epochs: int) -> None:
    """It may have more before it, or be a test of speed on random numbers."""
    judgement = conclude(training(batches(1.0), ALIKE, stopped, epochs=epochs))
    assert judgement.verdict == "healthy"
    assert [(f.rule, f.severity) for f in judgement.findings] == [("FL606", "advice")]


def test_what_float32_learns_when_it_is_built_anew_counts() -> None:
    learned = training(batches(1.0), ALIKE, rebuilt=steps(curve(1.0, 0.1, STEPS)))
    assert isinstance(check("FL606", learned), Clear)
    stayed = training(batches(1.0), ALIKE, rebuilt=batches(1.0))
    assert isinstance(check("FL606", stayed), Found)


@pytest.mark.parametrize(
    "history",
    [
        History(steps(curve(1.0, 0.1, STEPS)), "end of training"),
        History(steps([1.0] * 20), "end of training"),
        History(steps([-1.0] * STEPS), "end of training"),
        History(steps([1.0] * STEPS), "symptom"),
        History(steps([1.0] * STEPS, skipped=range(60)), "end of training"),
        History(steps([1.0] * (STEPS - 1) + [math.nan]), "end of training"),
    ],
    ids=["falls", "too few", "negative", "fails", "skipped", "lost"],
)
def test_nothing_is_asked_where_the_loss_falls_or_says_nothing(history: History) -> None:
    assert not learns_little(history)
    assert learns_little(History(steps([1.0] * STEPS), "end of training"))
