"""Trials of a bench that is only numbers: crashes, budgets, interruptions, chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floatline.precision.plan import Plan
from floatline.progress import silent
from floatline.records import Configuration, Reference, StepRecord
from floatline.remedies.dtypes import float32_layer
from floatline.repairs import TrialBudget
from floatline.trials.aims import EVERYWHERE, AsGoodAsFloat32, Learns
from floatline.trials.arms import Arms
from floatline.trials.bench import Run
from floatline.trials.determinism import with_chance
from floatline.trials.journal import Journal
from floatline.trials.repair import nearest
from floatline.trials.search import LONGER, search

HALF = Configuration("mixed_float16")
A, B = float32_layer("a"), float32_layer("b")
KNOWN = {remedy.summary: remedy for remedy in (A, B)}
STEPS = 40


def falling(steps: int, level: float = 1.0) -> tuple[StepRecord, ...]:
    return tuple(StepRecord(index, level / (index + 1)) for index in range(steps))


def flat(steps: int) -> tuple[StepRecord, ...]:
    return tuple(StepRecord(index, 1.0) for index in range(steps))


class Numbers:
    """A bench whose trainings are functions of the plan."""

    def __init__(self, train: Callable[[Plan, int], Run], float32: Any = None) -> None:
        self.trainings: list[Plan] = []
        self._train = train
        self._float32 = float32 or (lambda steps: Run(falling(steps), 1.0))

    def train(self, plan: Plan, steps: int, seconds: float) -> Run:
        self.trainings.append(plan)
        return self._train(plan, steps)

    def train_in_float32(self, steps: int, seconds: float) -> Run:
        run: Run = self._float32(steps)
        return run


def arms(
    bench: Numbers, file: Path | None = None, budget: TrialBudget | None = None, aim: Any = None
) -> Arms:
    journal = Journal(file, "training", STEPS)
    aim = aim or AsGoodAsFloat32(HALF, Reference(falling(STEPS)))
    return Arms(bench, aim, KNOWN, budget or TrialBudget(), journal, silent)  # type: ignore[arg-type]  # (stands in for a bench)


def cured_by(name: str) -> Callable[[Plan, int], Run]:
    def train(plan: Plan, steps: int) -> Run:
        cured = any(rule.path == name for rule in plan.rules)
        return Run(falling(steps) if cured else flat(steps), 1.0)

    return train


def test_a_trial_that_crashes_is_undecided_and_the_others_go_on() -> None:
    def train(plan: Plan, steps: int) -> Run:
        if any(rule.path == "a" for rule in plan.rules):
            return Run((), 1.0, "ResourceExhaustedError: out of memory")
        return cured_by("b")(plan, steps)

    tried = arms(Numbers(train))
    found = search([(A.summary,), (B.summary,)], tried.attempt, tried.lasts)
    assert (found.chosen, found.lasting) == ((B.summary,), True)
    crashed = tried.trials[1]
    assert crashed.verdict == "undecided"
    assert "out of memory" in crashed.reason
    assert tried.trials[-1].steps == LONGER * STEPS


def test_an_interrupted_search_gives_the_same_answer_with_fewer_trainings(tmp_path: Path) -> None:
    file = tmp_path / "plan.trials"

    def interrupted(plan: Plan, steps: int) -> Run:
        if any(rule.path == "b" for rule in plan.rules):
            raise KeyboardInterrupt
        return cured_by("b")(plan, steps)

    sets = [(A.summary,), (B.summary,)]
    with pytest.raises(KeyboardInterrupt):
        search(sets, arms(Numbers(interrupted), file).attempt)
    bench = Numbers(cured_by("b"))
    again = arms(bench, file)
    found = search(sets, again.attempt, again.lasts)
    whole = arms(Numbers(cured_by("b")))
    assert found == search(sets, whole.attempt, whole.lasts)
    assert [trial.verdict for trial in again.trials] == [t.verdict for t in whole.trials]
    assert len(bench.trainings) == 2  # The cure, and its longer training.


def test_a_budget_that_ends_leaves_the_best_trial() -> None:
    def train(plan: Plan, steps: int) -> Run:
        level = {"a": 40.0, "b": 20.0}
        losses = [level[rule.path] for rule in plan.rules if rule.path] or [90.0]
        return Run(falling(steps, losses[0]), 1.0)

    tried = arms(Numbers(train), budget=TrialBudget(trials=3))
    found = search([(A.summary,), (B.summary,), (A.summary, B.summary)], tried.attempt)
    best = nearest(tried.trials)
    assert found.exhausted
    assert best is not None
    assert best.remedies == (B.summary,)


@pytest.mark.parametrize(("level", "lasts"), [(1.0, True), (50.0, False)])
def test_where_float32_fails_the_loss_must_fall_and_float32_must_not_do_better(
    level: float, lasts: bool
) -> None:
    def train(plan: Plan, steps: int) -> Run:
        everything = any(rule.selects_all for rule in plan.rules)
        return Run(falling(steps, 1.0 if everything else level), 1.0)

    tried = arms(Numbers(train), aim=Learns(HALF))
    assert tried.attempt((A.summary,)) == "fixed"
    assert tried.lasts((A.summary,)) is lasts


def test_a_deterministic_training_is_repeated_for_a_few_steps_only() -> None:
    asked: list[int] = []

    def float32(steps: int) -> Run:
        asked.append(steps)
        return Run(falling(steps), 1.0)

    reference = Reference(falling(STEPS))
    assert with_chance(Numbers(cured_by("a"), float32), reference, 9.0) == reference  # type: ignore[arg-type]
    assert asked == [10]


def test_chance_widens_the_band() -> None:
    chance = Numbers(cured_by("a"), lambda steps: Run(falling(steps, 3.0), 1.0))
    reference = with_chance(chance, Reference(falling(STEPS)), 9.0)  # type: ignore[arg-type]
    worse = falling(STEPS, 8.0)
    assert AsGoodAsFloat32(HALF, Reference(falling(STEPS))).judge(worse)[0] == "not fixed"
    assert AsGoodAsFloat32(HALF, reference).judge(worse)[0] == "fixed"


@pytest.mark.parametrize(("float32_stands", "expected"), [(False, "not fixed"), (True, "fixed")])
def test_weights_that_only_a_plan_holds_still_are_not_fixed(
    float32_stands: bool, expected: str
) -> None:
    def train(plan: Plan, steps: int) -> Run:
        return Run(falling(steps), 1.0, still=float32_stands or plan != EVERYWHERE)

    tried = arms(Numbers(train))
    assert tried.attempt((A.summary,)) == expected
    assert ("No weight has moved" in tried.trials[0].reason) is not float32_stands
