"""The frozen records of a repair: its budget, remedies, trials, and what they came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from floatline.precision.plan import Plan

TrialVerdict = Literal["fixed", "not fixed", "undecided"]


@dataclass(frozen=True, slots=True)
class TrialBudget:
    """How much may be tried: whichever limit comes first.

    Attributes:
        trials: Trainings, at most; 0 proposes without trying.
        seconds: Time for all of them together.
        steps: Steps of one trial, at most.
        journal: File that keeps finished trials until the search has ended, so that one that was
            interrupted goes on; None keeps nothing.
    """

    trials: int = 24
    seconds: float = 300.0
    steps: int = 1000
    journal: Path | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that may cure a training; proposed, not applied.

    Attributes:
        name: Kebab-case kind of remedy, `"float32-layer"`.
        summary: The change in one sentence.
        cost: What it costs in speed and memory, in words.
        plan: The change alone, as a plan.
        rule: Id of the rule whose finding suggests it; None for what helps in general.
    """

    name: str
    summary: str
    cost: str
    plan: Plan
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A short training with some remedies, from the same state on the same batches.

    Attributes:
        remedies: Summaries of the remedies in force; none for loss scaling by Floatline alone.
        plan: All of them as one plan.
        verdict: Whether training was then as good as in float32.
        reason: Why, in words.
        steps: Steps that were trained.
        skipped: Of these, how many a loss scale skipped.
        loss: Median loss at the end; None when it was never finite.
        float32_loss: The same of the training in float32.
        seconds: How long it took, compilation included.
        losses: The loss of each step.
        float32_losses: The same in float32, where the trial has a reference of its own; empty
            where it is that of the diagnosis.
    """

    remedies: tuple[str, ...]
    plan: Plan
    verdict: TrialVerdict
    reason: str
    steps: int = 0
    skipped: int = 0
    loss: float | None = None
    float32_loss: float | None = None
    seconds: float = 0.0
    losses: tuple[float | None, ...] = ()
    float32_losses: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceChange:
    """A change in the user's source, which Floatline shows and does not make.

    Attributes:
        file: Path as Python knows it.
        line: Where the statement begins, from 1.
        now: The statement as it stands.
        then: The statement as it could read.
        reason: What the change does.
        whole: Whether a part of it makes no sense without the rest: a loss that is scaled needs an
            optimizer that takes the scale out.
    """

    file: str
    line: int
    now: str
    then: str
    reason: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The user's script, run and diagnosed again with changes in its source; no file is changed.

    Attributes:
        changes: The changes in force.
        verdict: Whether nothing was wrong with the training any more.
        reason: Why, in words.
        steps: Steps that were watched.
        seconds: How long it took, start and imports included.
    """

    changes: tuple[SourceChange, ...]
    verdict: TrialVerdict
    reason: str
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Repair:
    """What the trials came to.

    Attributes:
        verdict: Fixed when a plan was found that trains as well as float32 does.
        explanation: The verdict in one or two sentences.
        plan: The plan that was found, or the best that could be proposed; None without any.
        remedies: The remedies in the plan.
        trials: Every trial, in order; the last is the long one when the plan was confirmed.
        minimal: Whether each remedy of the plan was shown to be necessary.
        lasting: Whether the plan held in a training several times as long; None when not tried.
        changes: Changes in the user's source that serve instead of a plan: those that were shown to
            cure, or else those that are proposed.
        rewrites: Every run of the script with changes, in order.
        patch: The changes that were shown to cure, as a unified diff; None when none were.
    """

    verdict: TrialVerdict
    explanation: str
    plan: Plan | None = None
    remedies: tuple[Remedy, ...] = ()
    trials: tuple[Trial, ...] = ()
    minimal: bool = False
    lasting: bool | None = None
    changes: tuple[SourceChange, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    patch: str | None = None
