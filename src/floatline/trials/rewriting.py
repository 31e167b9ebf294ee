"""Changes in the user's source, tried: the script runs again as it could read, until it trains."""

from __future__ import annotations

import dataclasses
import linecache
import time
from collections.abc import Callable, Sequence
from functools import partial

from floatline.progress import Progress
from floatline.records import Diagnosis, Evidence
from floatline.repairs import Repair, Rewrite, SourceChange, TrialBudget, TrialVerdict
from floatline.trials.editing import (
    Hunk,
    Texts,
    as_change,
    hunks,
    is_python,
    patch,
    together,
    with_change,
    with_hunks,
)
from floatline.trials.rerun import Answer, Rerun
from floatline.trials.search import Names, search
from floatline.trials.verdict import lags

ROUNDS = 6
"""Runs until one must have cured: casting one line can move the fault to the next."""

CURED = {
    False: "Changes of your source cure it.",
    True: "Changes of your source cure it, and each of them is needed.",
}
NO_PLAN = {
    "fixed": "",
    "not fixed": "No plan cures it.",
    "undecided": "Whether a plan does was not shown.",
}
"""What is to be said of plans beside it, by what their trials came to."""


def with_rewrites(
    diagnosis: Diagnosis,
    rerun: Rerun,
    budget: TrialBudget,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Diagnosis:
    """The diagnosis with what became of the changes that it proposes in the source.

    Args:
        diagnosis: What is wrong, with proposals in its repair.
        rerun: Runs the script with other texts.
        budget: How much may be tried; what the trials of plans took is spent.
        progress: Told of every run.
        clock: Seconds that only grow.
    """
    repair = diagnosis.repair
    if repair is None or not (repair.changes and budget.trials):
        return diagnosis
    left = budget.seconds - sum(trial.seconds for trial in repair.trials)
    steps = _steps_to_show(diagnosis.evidence)
    beside = partial(lags, diagnosis.evidence)
    attempts = _Attempts(rerun, steps, clock() + left, progress, clock, beside)
    tried = _rewritten(repair, attempts)
    return dataclasses.replace(diagnosis, repair=tried)


def _rewritten(repair: Repair, attempts: _Attempts) -> Repair:
    cured, proposals = _grown(repair.changes, attempts)
    if cured is None:
        return dataclasses.replace(repair, rewrites=attempts.rewrites)
    before = attempts.originals
    needed, minimal = _needed(before, together(hunks(before, cured), proposals), attempts)
    found = dataclasses.replace(
        repair,
        changes=tuple(as_change(before, hunk, proposals) for hunk in needed),
        rewrites=attempts.rewrites,
        patch=patch(before, with_hunks(before, needed), attempts.folder),
    )
    if repair.verdict == "fixed":
        return found
    cure = next(r.reason for r in found.rewrites if r.verdict == "fixed")
    text = f"{CURED[minimal]} {cure} {NO_PLAN[repair.verdict]}"
    # A plan that came nearest is no plan beside a cure.
    return dataclasses.replace(
        found,
        verdict="fixed",
        explanation=text.rstrip(),
        plan=None,
        remedies=(),
        minimal=minimal,
        lasting=attempts.lasting or None,
    )


def _grown(
    first: Sequence[SourceChange], attempts: _Attempts
) -> tuple[Texts | None, list[SourceChange]]:
    """Texts that cure, grown change by change, each proposed by the diagnosis of those before.

    Where one way ends, the next proposal of an earlier diagnosis is followed.
    """
    waiting: list[_Way] = [_Way({}, (), change) for change in first]
    known: list[Texts] = []
    while waiting and len(attempts.rewrites) < ROUNDS:
        way = waiting.pop(0)
        before = {way.change.file: attempts.original(way.change.file), **way.texts}
        larger, made = with_change(before, way.change), (*way.made, way.change)
        if larger == before or larger in known:
            continue
        known.append(larger)
        answer = attempts.attempt(larger, made)
        if answer is None:
            break
        if answer.verdict == "fixed":
            return larger, list(made)
        waiting = [*(_Way(larger, made, change) for change in answer.changes), *waiting]
    return None, []


@dataclasses.dataclass(frozen=True, slots=True)
class _Way:
    """A change to be made next, after others."""

    texts: Texts
    made: tuple[SourceChange, ...]
    change: SourceChange


def _needed(
    before: Texts, all_of_them: Sequence[Sequence[Hunk]], attempts: _Attempts
) -> tuple[Sequence[Hunk], bool]:
    """The differences that are missed when they are left out, and whether that was shown.

    Args:
        before: What the files hold.
        all_of_them: The differences in groups, each of which is left out as a whole.
        attempts: Runs the script.
    """
    by_name = {str(number): group for number, group in enumerate(all_of_them)}

    def attempt(names: Names) -> TrialVerdict | None:
        if len(names) in (0, len(by_name)):  # Known: the diagnosis, and what has just cured.
            return "fixed" if names else "not fixed"
        chosen = [hunk for name in names for hunk in by_name[name]]
        if not all(map(is_python, with_hunks(before, chosen).values())):
            return "not fixed"
        shown = [as_change(before, hunk, ()) for hunk in chosen]
        answer = attempts.attempt(with_hunks(before, chosen), shown)
        if answer is None or not answer.failed:
            return None if answer is None else answer.verdict
        return "not fixed"  # What the script cannot run without is missed.

    found = search([tuple(by_name)], attempt)
    kept = found.chosen or tuple(by_name)
    return [hunk for name in kept for hunk in by_name[name]], found.minimal


def _steps_to_show(evidence: Evidence) -> int:
    """How many steps a changed script must train: where a step raised, float32 has shown more."""
    history, reference = evidence.history, evidence.reference
    if history.stopped == "error" and reference is not None:
        return len(reference.steps)
    return len(history.steps)


class _Attempts:
    """Runs the script with changes, and keeps what came of it, until the time is up."""

    def __init__(
        self,
        rerun: Rerun,
        steps: int,
        deadline: float,
        progress: Progress,
        clock: Callable[[], float],
        beside: Callable[[Sequence[float | None]], str | None],
    ) -> None:
        self._beside = beside
        self._rerun = rerun
        self._steps = steps
        self._deadline = deadline
        self._progress = progress
        self._clock = clock
        self.folder = rerun.folder
        self.originals: dict[str, str] = {}
        self.rewrites: tuple[Rewrite, ...] = ()
        self.lasting = True
        """Whether all that cured were watched long enough to call it lasting."""

    def original(self, file: str) -> str:
        """What a file held when it ran."""
        return self.originals.setdefault(file, "".join(linecache.getlines(file)))

    def attempt(self, texts: Texts, changes: Sequence[SourceChange]) -> Answer | None:
        """What is wrong with the script when its files hold these texts; None out of time."""
        begin = self._clock()
        if begin >= self._deadline:
            return None
        self._progress("running the script with a change", len(self.rewrites) + 1, None)
        answer = self._rerun(texts, self._steps, self._deadline - begin)
        if answer.verdict == "fixed" and (fault := self._beside(answer.losses)):
            answer = dataclasses.replace(answer, verdict="not fixed", reason=fault)
        seconds = self._clock() - begin
        self.lasting &= answer.lasting or answer.verdict != "fixed"
        self.rewrites += (
            Rewrite(tuple(changes), answer.verdict, answer.reason, answer.steps, seconds),
        )
        return answer
