"""The stage: from a diagnosis to the smallest plan that was shown to cure the training."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from floatline.capture.capture import Capture
from floatline.precision.plan import Plan
from floatline.progress import Progress
from floatline.records import Configuration, Diagnosis, Reference
from floatline.remedies.combine import combined
from floatline.remedies.propose import propose
from floatline.repairs import Remedy, Repair, Trial, TrialBudget, TrialVerdict
from floatline.trials.bench import Bench, Run
from floatline.trials.search import Found, Names, search
from floatline.trials.verdict import final_loss, verdict

STAGE = "trying remedies"

LONGER = 3
"""The plan that was found is trained this many times as long, to show that it lasts."""

NO_MODEL = (
    "The training is a step function, which a plan cannot change: the remedies are for its author."
)
NO_BATCHES = "No batch was kept, so no trial can be run."
NOT_ASKED = "Nothing was tried, as it was asked."
NOT_NEEDED = "Nothing is to be repaired: the precision is not at fault."


def repair(
    capture: Capture,
    diagnosis: Diagnosis,
    budget: TrialBudget,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Repair:
    """Looks for the smallest plan under which the training is as good as in float32.

    Args:
        capture: The watched training; its model is left as it was found.
        diagnosis: What is wrong with it.
        budget: How much may be tried.
        progress: Told of every trial.
        clock: Seconds that only grow.
    """
    reference = diagnosis.evidence.reference
    if diagnosis.verdict != "precision" or reference is None:
        return Repair("undecided", NOT_NEEDED)
    sets = propose(diagnosis.findings, diagnosis.evidence.traces)
    proposed = next(iter(sets), ())
    trainee = capture.trainee
    if trainee is None or not capture.batches or not budget.trials:
        reason = NOT_ASKED if not budget.trials else NO_MODEL if trainee is None else NO_BATCHES
        plan = combined(proposed) if proposed else None
        return Repair("undecided", reason, plan, proposed)
    # The first of a name is the one that a finding suggests.
    known = {remedy.summary: remedy for group in reversed(sets) for remedy in reversed(group)}
    bench = Bench(capture, trainee, clock)
    steps = min(budget.steps, len(capture.history.steps), len(reference.steps))
    configuration = diagnosis.evidence.configuration
    arms = _Arms(bench, configuration, reference, known, budget, steps, progress, clock)
    found = search([tuple(r.summary for r in group) for group in sets], arms.attempt)
    return arms.conclude(found, proposed)


class _Arms:
    """The trials of one repair: each training, its verdict, and the time that is left."""

    def __init__(
        self,
        bench: Bench,
        configuration: Configuration,
        reference: Reference,
        known: dict[str, Remedy],
        budget: TrialBudget,
        steps: int,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self._bench = bench
        self._configuration = configuration
        self._reference = reference
        self._known = known
        self._budget = budget
        self._progress = progress
        self._clock = clock
        self._deadline = clock() + budget.seconds
        self._steps = steps
        self._trials: list[Trial] = []

    def attempt(self, names: Names) -> TrialVerdict | None:
        """Trains with the named remedies; None when the budget is spent."""
        left = self._deadline - self._clock()
        if left <= 0 or len(self._trials) >= self._budget.trials:
            return None
        self._progress(STAGE, len(self._trials), self._budget.trials)
        plan = combined([self._known[name] for name in names])
        run = self._bench.train(plan, self._steps, left)
        trial = self._judged(names, plan, run, self._reference)
        self._trials.append(trial)
        return trial.verdict

    def conclude(self, found: Found, proposed: Sequence[Remedy]) -> Repair:
        """What the search came to, confirmed by a longer training."""
        if found.chosen is None:
            self._progress(STAGE, self._budget.trials, self._budget.trials)
            spent = "The budget ended before" if found.exhausted else "After all of"
            reason = (
                f"{spent} {len(self._trials)} trials, none of which trained as well as float32."
            )
            plan = combined(proposed) if proposed else None
            state: TrialVerdict = "undecided" if found.exhausted else "not fixed"
            return Repair(state, reason, plan, tuple(proposed), tuple(self._trials))
        remedies = tuple(self._known[name] for name in found.chosen)
        plan = combined(remedies)
        lasting = self._lasts(found.chosen, plan)
        self._progress(STAGE, self._budget.trials, self._budget.trials)
        return Repair(
            "fixed" if lasting is not False else "not fixed",
            _explained(remedies, len(self._trials), found.minimal, lasting),
            with_evidence(plan, self._trials, found.chosen),
            remedies,
            tuple(self._trials),
            found.minimal,
            lasting,
        )

    def _lasts(self, names: Names, plan: Plan) -> bool | None:
        left = self._deadline - self._clock()
        if left <= 0:
            return None
        steps = LONGER * self._steps
        run = self._bench.train(plan, steps, left / 2)
        plain = self._bench.train_in_float32(len(run.steps), left / 2)
        longer = dataclasses.replace(self._reference, steps=plain.steps, perturbed=(), rebuilt=())
        trial = self._judged(names, plan, run, longer)
        self._trials.append(trial)
        return {"fixed": True, "not fixed": False}.get(trial.verdict)

    def _judged(self, names: Names, plan: Plan, run: Run, reference: Reference) -> Trial:
        state: TrialVerdict
        if run.error is not None:
            state, reason = "undecided", f"The trial raised {run.error}"
        else:
            state, reason = verdict(self._configuration, run.steps, reference)
        return Trial(
            remedies=names,
            plan=plan,
            verdict=state,
            reason=reason,
            steps=len(run.steps),
            skipped=sum(step.skipped for step in run.steps),
            loss=final_loss(run.steps),
            float32_loss=final_loss(reference.steps[: len(run.steps)]),
            seconds=run.seconds,
            losses=tuple(step.loss for step in run.steps),
            float32_losses=() if reference is self._reference else _losses(reference),
        )


def _losses(reference: Reference) -> tuple[float | None, ...]:
    return tuple(step.loss for step in reference.steps)


def with_evidence(plan: Plan, trials: Sequence[Trial], chosen: Names) -> Plan:
    """The plan with the trial that proves it noted in each of its parts."""
    proof = next((t for t in trials if t.remedies == chosen and t.verdict == "fixed"), None)
    if proof is None:
        return plan
    evidence = {"trial": proof.reason, "steps": proof.steps, "loss": proof.loss}
    rules = tuple(dataclasses.replace(rule, evidence=evidence) for rule in plan.rules)
    scale = plan.loss_scale and dataclasses.replace(plan.loss_scale, evidence=evidence)
    return dataclasses.replace(plan, rules=rules, loss_scale=scale)


def _explained(remedies: Sequence[Remedy], trials: int, minimal: bool, lasting: bool | None) -> str:
    what = " ".join(remedy.summary for remedy in remedies) or "Train with Floatline's loss scaling."
    proof = "each part is necessary" if minimal and remedies else "it is sufficient"
    lasts = {
        True: f"It held {LONGER} times as long.",
        False: f"But it did not hold {LONGER} times as long.",
        None: "Whether it lasts was not shown.",
    }[lasting]
    return f"{what} Shown by {trials} trainings: {proof}. {lasts}"
