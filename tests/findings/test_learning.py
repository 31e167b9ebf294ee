"""A model that learns nothing from its inputs is told from one that need not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from floatline.findings.learning import gains, learns_little
from floatline.findings.rule import Clear, Found
from floatline.records import Evidence, History, Reference, StepRecord
from tests.findings.evidence import check, conclude, configuration, curve, evidence, steps
from tests.findings.patients import trace_of_a_loss

STEPS = 100


def batches(level: float, spread: float = 0.1, lag: float = 0.0) -> tuple[StepRecord, ...]:
    """Losses around a level that follow their batch; `lag` is what each step adds of its own."""
    return steps([level + spread * math.sin(7 * i) + lag * math.cos(5 * i) for i in range(STEPS)])


def training(
    own: Sequence[StepRecord],
    without: Sequence[StepRecord],
    stopped: str = "end of training",
    rebuilt: Sequence[StepRecord] = (),
    epochs: int = 5,
) -> Evidence:
    told = evidence([trace_of_a_loss()], own, own, config=replace(configuration(), epochs=epochs))
    history = History(tuple(own), stopped)  # type: ignore[arg-type]  # (one of its literals)
    reference = Reference(tuple(own), (), tuple(rebuilt), dealt_out=tuple(without))
    return replace(told, history=history, reference=reference)


def test_targets_that_have_nothing_to_do_with_their_inputs_are_no_fault_of_the_precision() -> None:
    judgement = conclude(training(batches(1.0), batches(1.0, lag=0.01)))
    assert (judgement.verdict, judgement.findings[0].rule) == ("not-precision", "FL606")
    assert "learns nothing from them" in judgement.findings[0].summary


@pytest.mark.parametrize("without", [1.02, 1.2, 5.0])
def test_inputs_that_gain_a_little_in_every_step_are_learned_from(without: float) -> None:
    """A fitted model whose loss is flat, or one whose penalty outweighs its loss."""
    assert conclude(training(batches(1.0), batches(without, lag=0.01))).verdict == "healthy"


def test_losses_that_scatter_too_much_show_nothing() -> None:
    scattered = training(batches(1.0), batches(1.0, lag=0.5))
    assert isinstance(check("FL606", scattered), Clear)
    (gain,) = gains(scattered.reference or Reference(()))
    assert gain.others - gain.loss < 2 * gain.error


@pytest.mark.parametrize(("stopped", "epochs"), [("budget", 5), ("end of training", 1)])
def test_a_short_training_is_advised(stopped: str, epochs: int) -> None:
    """It may have more before it, or be a test of speed on random numbers."""
    judgement = conclude(training(batches(1.0), batches(1.0, lag=0.01), stopped, epochs=epochs))
    assert judgement.verdict == "healthy"
    assert [(f.rule, f.severity) for f in judgement.findings] == [("FL606", "advice")]


def test_what_float32_learns_when_it_is_built_anew_counts() -> None:
    learned = training(batches(1.0), batches(1.0, lag=0.01), rebuilt=steps(curve(1.0, 0.1, STEPS)))
    assert isinstance(check("FL606", learned), Clear)
    stayed = training(batches(1.0), batches(1.0, lag=0.01), rebuilt=batches(1.0))
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
