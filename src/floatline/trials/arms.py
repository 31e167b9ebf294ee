"""The trials of one repair: each training, its verdict, and the time that is left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

from floatline.precision.plan import Plan
from floatline.progress import Progress
from floatline.records import StepRecord
from floatline.remedies.combine import combined
from floatline.repairs import Remedy, Trial, TrialBudget, TrialVerdict
from floatline.trials.aims import EVERYWHERE, Aim, Judged
from floatline.trials.bench import Bench, Run
from floatline.trials.journal import Journal
from floatline.trials.search import LONGER, Names
from floatline.trials.verdict import final_loss

STAGE = "trying remedies"

STILL = "No weight has moved, bit for bit; in float32 they do."

FEW_STEPS = 10
"""Steps in float32 that tell whether weights move at all."""


class Arms:
    """Tries remedies by name.

    Args:
        bench: Trains the model.
        aim: What a trial must reach.
        known: Remedies by their summary.
        budget: How much may be tried.
        journal: Where finished trials are kept.
        progress: Told of every trial.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        bench: Bench,
        aim: Aim,
        known: Mapping[str, Remedy],
        budget: TrialBudget,
        journal: Journal,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bench = bench
        self._aim = aim
        self._known = known
        self._budget = budget
        self._journal = journal
        self._progress = progress
        self._clock = clock
        self._deadline = clock() + budget.seconds
        self._trials: list[Trial] = []

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in order."""
        return tuple(self._trials)

    def attempt(self, names: Names) -> TrialVerdict | None:
        """Trains with the named remedies; None when the budget is spent."""
        if len(self._trials) >= self._budget.trials:
            return None
        self._progress(STAGE, len(self._trials), self._budget.trials)
        plan = self.plan(names)
        kept = self._journal.recall(names, self._journal.steps, plan)
        if kept is not None:
            return self._noted(kept)
        if self._left <= 0:
            return None
        run = self._bench.train(plan, self._journal.steps, self._left)
        whole = len(run.steps) == self._journal.steps or run.error is not None
        trial = self._judged(names, plan, run, self._aim.judge, self._aim.reference)
        if not whole and trial.verdict == "undecided":
            return None  # The budget ended in the middle of it.
        self._journal.keep(trial)
        return self._noted(trial)

    def lasts(self, names: Names) -> bool | None:
        """Trains several times as long, beside float32; None when that decides nothing."""
        plan, steps = self.plan(names), LONGER * self._journal.steps
        trial = self._journal.recall(names, steps, plan)
        if trial is None:
            if self._left <= 0:
                return None
            run = self._bench.train(plan, steps, self._left / 2)
            plain = self._aim.companion(self._bench, plan, len(run.steps), self._left)
            trial = self._judged(
                names,
                plan,
                run,
                lambda done: self._aim.judge_longer(done, plain.steps),
                plain.steps,
            )
            if len(run.steps) == steps:
                self._journal.keep(trial)
        self._trials.append(trial)
        self._progress(STAGE, self._budget.trials, self._budget.trials)
        return {"fixed": True, "not fixed": False}.get(trial.verdict)

    def plan(self, names: Names) -> Plan:
        """The named remedies as one plan."""
        return combined([self._known[name] for name in names])

    @property
    def _left(self) -> float:
        return self._deadline - self._clock()

    def _moves_in_float32(self, plan: Plan, steps: int) -> bool:
        """Whether any weight moves in float32: a rate of 0 is no fault of a plan's."""
        everywhere = dataclasses.replace(
            EVERYWHERE, optimizer=plan.optimizer, epsilons=plan.epsilons
        )
        run = self._bench.train(everywhere, min(steps, FEW_STEPS), max(0.0, self._left))
        return bool(run.steps) and run.error is None and not run.still

    def _noted(self, trial: Trial) -> TrialVerdict:
        self._trials.append(trial)
        return trial.verdict

    def _judged(
        self,
        names: Names,
        plan: Plan,
        run: Run,
        judge: Callable[[tuple[StepRecord, ...]], Judged],
        reference: tuple[StepRecord, ...],
    ) -> Trial:
        state: TrialVerdict
        if run.error is not None:
            state, reason = "undecided", f"The trial raised {run.error}"
        else:
            state, reason = judge(run.steps)
            if state == "fixed" and run.still and self._moves_in_float32(plan, len(run.steps)):
                state, reason = "not fixed", STILL
        beside = reference[: len(run.steps)]
        return Trial(
            remedies=names,
            plan=plan,
            verdict=state,
            reason=reason,
            steps=len(run.steps),
            skipped=sum(step.skipped for step in run.steps),
            loss=final_loss(run.steps),
            float32_loss=final_loss(beside),
            seconds=run.seconds,
            losses=_losses(run.steps),
            float32_losses=() if reference is self._aim.reference else _losses(reference),
        )


def _losses(steps: tuple[StepRecord, ...]) -> tuple[float | None, ...]:
    return tuple(step.loss for step in steps)
