"""The stage: from a diagnosis to the smallest plan that was shown to cure the training."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from floatline.capture.capture import Capture, Trainee
from floatline.findings.outcome import bad, outcome, scaling_unused
from floatline.precision.plan import Plan
from floatline.progress import Progress
from floatline.records import Diagnosis
from floatline.remedies.combine import combined
from floatline.remedies.propose import (
    MISUSE_RULES,
    SCALE_RULES,
    Sets,
    propose,
    propose_for_growth,
)
from floatline.remedies.source import changes
from floatline.repairs import Remedy, Repair, Trial, TrialBudget, TrialVerdict
from floatline.trials.aims import (
    EVERYWHERE,
    Aim,
    AsGoodAsFloat32,
    AsGoodAsPlannedFloat32,
    Learns,
)
from floatline.trials.arms import Arms
from floatline.trials.bench import Bench
from floatline.trials.determinism import NOTE, with_chance
from floatline.trials.journal import Journal, fingerprint
from floatline.trials.search import LONGER, Found, Names, search
from floatline.trials.verdict import final_loss

NO_MODEL = (
    "The training is a step function without a Keras model that a plan could change: the remedies "
    "are for its author."
)
NO_OPTIMIZER = (
    "The training is a step function that holds its optimizer itself, where a plan cannot change "
    "it: the remedies are for its author."
)
NO_BATCHES = "No batch was kept, so no trial can be run."
NOT_ASKED = "Nothing was tried, as it was asked."
NOT_NEEDED = "Nothing is to be repaired: the precision is not at fault."
NO_CAUSE = "Nothing can be proposed: no rule names a cause."
NOT_DECIDED = "Nothing can be proposed before the diagnosis is decided."
NO_PLAN = (
    "Float32 fails too, and smaller steps are no cure: the remedies are in the findings, for the "
    "script."
)
IN_THE_SCRIPT = "The remedies are in the findings, for the script."
NOT_SEEN = (
    "The loss does not show the fault: without any remedy it trained as well as float32, so no "
    "trial can prove one. The plan is a proposal."
)
FLOAT32_FAILS = "Float32 fails too."
WHOLE_FLOAT32_FAILS = (
    "The whole model in float32 failed as well, though its operations one by one do not: what its "
    "compiler makes of them may be at fault, and not the precision."
)


def repair(
    capture: Capture,
    diagnosis: Diagnosis,
    budget: TrialBudget,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Repair:
    """Looks for the smallest plan under which the training is as good as in float32.

    Where float32 fails as well, it looks for smaller steps under which the loss falls.

    Args:
        capture: The watched training; its model is left as it was found.
        diagnosis: What is wrong with it.
        budget: How much may be tried.
        progress: Told of every trial.
        clock: Seconds that only grow.

    Raises:
        InputError: The budget's journal holds something else.
    """
    sets = _proposed(diagnosis)
    if not sets:
        reasons = {"not-precision": NO_PLAN, "precision": NO_CAUSE, "undecided": NOT_DECIDED}
        return Repair("undecided", reasons.get(diagnosis.verdict, NOT_NEEDED))
    edits = changes(diagnosis.findings)
    trainee = capture.trainee
    if trainee is None and not diagnosis.evidence.configuration.layers:
        return Repair("undecided", NO_MODEL, changes=edits)  # A plan would match nothing.
    usable = _usable(sets, trainee, own_scale=not scaling_unused(diagnosis.evidence))
    reason = _untried(budget, trainee, capture, usable)
    if trainee is None or reason is not None:
        return Repair("undecided", reason or NO_MODEL, combined(sets[0]), sets[0], changes=edits)
    tried = _tried(capture, trainee, diagnosis, usable, budget, progress, clock)
    return dataclasses.replace(tried, changes=edits)


def _usable(sets: Sets, trainee: Trainee | None, *, own_scale: bool) -> Sets:
    """Without a compiled model, loss scale and optimizer are in the hands of the user's loop.

    So they are where a step leaves the scale of the model's optimizer unused.
    """
    if own_scale and getattr(getattr(trainee, "model", None), "optimizer", None) is not None:
        return sets
    return tuple(
        group for group in sets if not any(r.plan.loss_scale or r.plan.optimizer for r in group)
    )


def _untried(
    budget: TrialBudget, trainee: Trainee | None, capture: Capture, usable: Sets
) -> str | None:
    """Why nothing can be tried, or None."""
    if not budget.trials:
        return NOT_ASKED
    if trainee is None or not usable:
        return NO_MODEL if trainee is None else NO_OPTIMIZER
    return None if capture.batches else NO_BATCHES


def _proposed(diagnosis: Diagnosis) -> Sets:
    evidence = diagnosis.evidence
    if diagnosis.verdict == "precision":
        return propose(diagnosis.findings, evidence.traces, evidence.configuration)
    # What is broken in its very first step is so without any step having been too large.
    grew = bool(evidence.history.steps) and not bad(evidence.history.steps[0])
    if diagnosis.verdict == "not-precision" and grew:
        return propose_for_growth(diagnosis.findings, evidence.configuration)
    return ()


def _tried(
    capture: Capture,
    trainee: Trainee,
    diagnosis: Diagnosis,
    sets: Sets,
    budget: TrialBudget,
    progress: Progress,
    clock: Callable[[], float],
) -> Repair:
    bench = Bench(capture, trainee, clock)
    aim, notes = _aim(diagnosis, bench, budget)
    names = [tuple(remedy.summary for remedy in group) for group in sets]
    history, configuration = capture.history.steps, diagnosis.evidence.configuration
    # After an error float32 went on, and so does a trial: what raised has shown nothing more.
    shown = len(aim.reference) if capture.error else len(history)
    steps = min(budget.steps, shown, len(aim.reference) or shown)
    journal = Journal(budget.journal, fingerprint(configuration, history, names), steps)
    # The first of a name is the one that a finding suggests.
    known = {remedy.summary: remedy for group in reversed(sets) for remedy in reversed(group)}
    arms = Arms(bench, aim, known, budget, journal, progress, clock)
    found = search(names, arms.attempt, arms.lasts)
    if not found.exhausted:
        journal.finish()
    if journal.reused:
        notes = (*notes, f"Trials kept from a run that was interrupted: {journal.reused}.")
    if found.chosen == () and _unseen(diagnosis):
        result = Repair("undecided", NOT_SEEN, combined(sets[0]), sets[0], arms.trials)
    elif found.chosen is None:
        result = _without_a_cure(found, arms, aim, sets, known)
    else:
        result = _cured(found, found.chosen, arms, tuple(known[name] for name in found.chosen))
    return dataclasses.replace(result, explanation=" ".join([*notes, result.explanation]))


def _unseen(diagnosis: Diagnosis) -> bool:
    """Whether the loss is none the worse, and the fault is in no loss scale that a trial sets."""
    root = next((f.rule for f in diagnosis.findings if f.severity == "failure"), "")
    became = outcome(diagnosis.evidence)
    suffered = became.broken or became.diverged or became.worse
    out_of_reach = root not in SCALE_RULES or scaling_unused(diagnosis.evidence)
    return out_of_reach and not suffered


def _aim(diagnosis: Diagnosis, bench: Bench, budget: TrialBudget) -> tuple[Aim, tuple[str, ...]]:
    """The yardstick of the trials, and what a reader must know of it."""
    configuration, reference = diagnosis.evidence.configuration, diagnosis.evidence.reference
    root = next((f.rule for f in diagnosis.findings if f.severity == "failure"), "")
    if diagnosis.verdict == "not-precision" or root in MISUSE_RULES or reference is None:
        notes = (FLOAT32_FAILS,) if diagnosis.verdict == "not-precision" else ()
        return Learns(configuration), notes
    seconds = budget.seconds / 10
    if final_loss(reference.steps) is None:
        planned = bench.train(EVERYWHERE, len(reference.steps), seconds).steps
        ruined = final_loss(planned) is None
        return Learns(configuration) if ruined else AsGoodAsPlannedFloat32(
            configuration, planned
        ), ()
    widened = with_chance(bench, reference, seconds)
    return AsGoodAsFloat32(configuration, widened), (NOTE,) if widened.repeated else ()


def _cured(found: Found, chosen: Names, arms: Arms, remedies: tuple[Remedy, ...]) -> Repair:
    lasting = found.lasting
    return Repair(
        "fixed" if lasting is not False else "not fixed",
        _explained(remedies, arms.trials, found),
        with_evidence(arms.plan(chosen), arms.trials, chosen),
        remedies,
        arms.trials,
        found.minimal,
        lasting,
    )


def _without_a_cure(
    found: Found, arms: Arms, aim: Aim, sets: Sets, known: dict[str, Remedy]
) -> Repair:
    """The plan that came nearest, or the first that was proposed."""
    trials = arms.trials
    reason = f"In {len(trials)} trials nothing {_goal(aim)}."
    if found.exhausted:
        reason = f"The budget ended. {reason}"
    if not (found.exhausted or aim.reference):
        return Repair("not fixed", f"{reason} {IN_THE_SCRIPT}", trials=trials)
    if aim.reference and float32_failed(trials):
        reason += f" {WHOLE_FLOAT32_FAILS}"
    remedies, best = sets[0], nearest(trials)
    if best is not None:
        remedies = tuple(known[name] for name in best.remedies)
        reason += f" The plan is the best so far: {best.reason}"
    state: TrialVerdict = "undecided" if found.exhausted else "not fixed"
    return Repair(state, reason, combined(remedies), remedies, trials)


def _goal(aim: Aim) -> str:
    return "trained as well as float32" if aim.reference else "made the loss fall and stay finite"


def nearest(trials: Sequence[Trial]) -> Trial | None:
    """The trial with remedies that ended with the least loss; None when none ended with one.

    Example:

    >>> bad = Trial((), Plan(), "not fixed", "")
    >>> nearest([bad]) is None
    True
    """
    some = [trial for trial in trials if trial.remedies and trial.loss is not None]
    return min(some, key=lambda trial: (trial.loss or 0.0, trial.skipped), default=None)


def float32_failed(trials: Sequence[Trial]) -> bool:
    """Whether some trial trained the whole model in float32, and lost its loss.

    Example:

    >>> float32_failed([Trial((), Plan.of("float32"), "not fixed", "", steps=9)])
    True
    >>> float32_failed([Trial((), Plan.of("float32"), "not fixed", "", steps=9, loss=1.0)])
    False
    """
    whole = [(rule.path, rule.policy) for rule in EVERYWHERE.rules]
    lost = [trial for trial in trials if trial.steps and trial.loss is None]
    return any([(rule.path, rule.policy) for rule in trial.plan.rules] == whole for trial in lost)


def with_evidence(plan: Plan, trials: Sequence[Trial], chosen: Names) -> Plan:
    """The plan with the trial that proves it noted in each of its parts."""
    proof = next((t for t in trials if t.remedies == chosen and t.verdict == "fixed"), None)
    if proof is None:
        return plan
    evidence = {"trial": proof.reason, "steps": proof.steps, "loss": proof.loss}
    rules = tuple(dataclasses.replace(rule, evidence=evidence) for rule in plan.rules)
    scale = plan.loss_scale and dataclasses.replace(plan.loss_scale, evidence=evidence)
    settings = tuple(dataclasses.replace(setting, evidence=evidence) for setting in plan.optimizer)
    epsilons = tuple(dataclasses.replace(epsilon, evidence=evidence) for epsilon in plan.epsilons)
    return Plan(rules, scale, settings, epsilons)


def _explained(remedies: Sequence[Remedy], trials: Sequence[Trial], found: Found) -> str:
    what = " ".join(remedy.summary for remedy in remedies) or "Train with Floatline's loss scaling."
    proof = "each part is necessary" if found.minimal and remedies else "it is sufficient"
    lasts = {
        True: f"It held {LONGER} times as long.",
        False: f"But it did not hold {LONGER} times as long.",
        None: "Whether it lasts was not shown.",
    }[found.lasting]
    return f"{what} Shown by {len(trials)} trainings: {proof}. {lasts}"
