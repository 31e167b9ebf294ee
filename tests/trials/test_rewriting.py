"""Changes of the source are tried one on the other, and only those that are missed are kept."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from floatline.progress import silent
from floatline.records import Diagnosis, History, Reference
from floatline.repairs import Repair, SourceChange, TrialBudget
from floatline.trials.editing import Texts
from floatline.trials.rerun import Answer, Rerun
from floatline.trials.rewriting import with_rewrites
from tests.findings.evidence import learns, stalls
from tests.report.samples import precision

LINES = ("a", "b", "c", "d")


class Script:
    """Stands in for a script in another process: a rule says what is wrong with its text."""

    def __init__(self, folder: Path, answer: Callable[[str, Script], Answer]) -> None:
        self.folder = folder
        self.file = str(folder / "train.py")
        Path(self.file).write_text("".join(f"{line} = 0\n" for line in LINES), encoding="utf-8")
        self.answer = answer
        self.runs: list[str] = []

    def change(self, name: str) -> SourceChange:
        """Another value for one of the names, proposed where it stands."""
        line = LINES.index(name) + 1
        return SourceChange(self.file, line, f"{name} = 0", f"{name} = 1", f"because of {name}")

    def __call__(self, texts: Texts, _steps: int, _seconds: float) -> Answer:
        self.runs.append(texts[self.file])
        return self.answer(texts[self.file], self)


def diagnosed(changes: tuple[SourceChange, ...], verdict: Any = "not fixed") -> Diagnosis:
    repair = Repair(verdict, "Nothing trained as well.", changes=changes)
    return dataclasses.replace(precision(), verdict="precision", repair=repair)


def tried(script: Script, first: str, budget: TrialBudget | None = None, **options: Any) -> Repair:
    begun = diagnosed((script.change(first),), **options)
    rerun = cast("Rerun", script)
    repair = with_rewrites(begun, rerun, budget or TrialBudget(), silent).repair
    assert repair is not None
    return repair


def wants(*names: str) -> Callable[[str, Script], Answer]:
    """Trains when all of these are changed; else proposes the next that is missing."""

    def answer(text: str, script: Script) -> Answer:
        missing = [name for name in names if f"{name} = 1" not in text]
        if not missing:
            return Answer("fixed", "Nothing is wrong in 30 steps.", 30, lasting=True)
        return Answer("not fixed", "Steps are skipped.", 30, (script.change(missing[0]),))

    return answer


def test_changes_grow_until_the_script_trains(tmp_path: Path) -> None:
    repair = tried(Script(tmp_path, wants("a", "c")), "a")
    assert repair.verdict == "fixed"
    assert repair.plan is None
    assert (repair.minimal, repair.lasting) == (True, True)
    assert [(c.line, c.then, c.reason) for c in repair.changes] == [
        (1, "a = 1", "because of a"),
        (3, "c = 1", "because of c"),
    ]
    assert repair.patch is not None
    assert "+c = 1" in repair.patch


def test_a_change_that_is_not_missed_is_left_out(tmp_path: Path) -> None:
    def answer(text: str, script: Script) -> Answer:
        if "c = 1" in text:
            return Answer("fixed", "Nothing is wrong in 30 steps.", 30)
        return Answer("not fixed", "", 30, (script.change("c"),))

    repair = tried(Script(tmp_path, answer), "a")
    assert [change.then for change in repair.changes] == ["c = 1"]
    assert (repair.minimal, repair.lasting) == (True, None)


def test_a_change_with_which_the_script_breaks_is_not_built_upon(tmp_path: Path) -> None:
    def answer(text: str, _script: Script) -> Answer:
        if "a = 1" in text:
            return Answer("undecided", "The script fails with it: TypeError")
        return Answer("fixed", "Nothing is wrong in 30 steps.", 30)

    script = Script(tmp_path, answer)
    begun = diagnosed((script.change("a"), script.change("b")))
    found = with_rewrites(begun, cast("Rerun", script), TrialBudget(), silent).repair
    assert found is not None
    assert [change.then for change in found.changes] == ["b = 1"]
    assert [rewrite.verdict for rewrite in found.rewrites] == ["undecided", "fixed"]


def test_what_cannot_be_cured_keeps_its_proposals(tmp_path: Path) -> None:
    script = Script(tmp_path, lambda _text, _script: Answer("not fixed", "Steps are skipped.", 30))
    repair = tried(script, "a")
    assert (repair.verdict, repair.patch) == ("not fixed", None)
    assert repair.changes == (script.change("a"),)
    assert len(repair.rewrites) == 1


def test_a_change_that_is_already_there_is_not_run_again(tmp_path: Path) -> None:
    def answer(_text: str, script: Script) -> Answer:
        return Answer("not fixed", "", 30, (script.change("a"),))

    script = Script(tmp_path, answer)
    tried(script, "a")
    assert len(script.runs) == 1


def test_a_plan_that_cures_stays_the_repair(tmp_path: Path) -> None:
    repair = tried(Script(tmp_path, wants("a")), "a", verdict="fixed")
    assert repair.explanation == "Nothing trained as well."
    assert repair.patch is not None


@pytest.mark.parametrize("budget", [TrialBudget(trials=0), TrialBudget(seconds=0.0)])
def test_without_a_budget_nothing_runs(tmp_path: Path, budget: TrialBudget) -> None:
    script = Script(tmp_path, wants("a"))
    assert tried(script, "a", budget).changes == (script.change("a"),)
    assert script.runs == []


def test_the_time_of_all_runs_is_limited(tmp_path: Path) -> None:
    ticks = itertools.count(step=100.0)
    script = Script(tmp_path, wants("a", "b", "c"))
    begun = diagnosed((script.change("a"),))
    budget = TrialBudget(seconds=250.0)
    found = with_rewrites(begun, cast("Rerun", script), budget, silent, lambda: next(ticks)).repair
    assert found is not None
    assert 0 < len(script.runs) < 3
    assert found.patch is None


def test_a_change_is_followed_to_where_the_script_breaks_on_it(tmp_path: Path) -> None:
    def answer(text: str, script: Script) -> Answer:
        if "c = 1" not in text:
            return Answer(
                "undecided", "The script fails with it: TypeError", 0, (script.change("c"),)
            )
        return Answer("fixed" if "a = 1" in text else "not fixed", "So it is.", 30)

    repair = tried(Script(tmp_path, answer), "a")
    assert repair.verdict == "fixed"
    assert [change.then for change in repair.changes] == ["a = 1", "c = 1"]


def test_where_one_way_ends_another_proposal_is_followed(tmp_path: Path) -> None:
    def answer(text: str, script: Script) -> Answer:
        if "c = 1" in text:
            return Answer("fixed", "Nothing is wrong in 30 steps.", 30)
        further = () if "b = 1" in text else (script.change("b"), script.change("c"))
        return Answer("not fixed", "Steps are skipped.", 30, further)

    script = Script(tmp_path, answer)
    repair = tried(script, "a")
    assert [change.then for change in repair.changes] == ["c = 1"]


def test_what_is_no_python_is_not_run(tmp_path: Path) -> None:
    def answer(text: str, _script: Script) -> Answer:
        return Answer("fixed" if "a = [0" in text else "not fixed", "Nothing is wrong.", 30)

    script = Script(tmp_path, answer)
    change = SourceChange(script.file, 1, "a = 0\nb = 0", "a = [0,\n1]\nb = 2", "")
    begun = diagnosed((change,))
    found = with_rewrites(begun, cast("Rerun", script), TrialBudget(), silent).repair
    assert found is not None
    assert found.verdict == "fixed"
    for text in script.runs:
        ast.parse(text)


def test_a_change_without_which_the_script_fails_is_needed(tmp_path: Path) -> None:
    def answer(text: str, script: Script) -> Answer:
        changed = ["a = 1" in text, "b = 1" in text]
        if all(changed):
            return Answer("fixed", "Nothing is wrong in 30 steps.", 30)
        return Answer("undecided", "It fails: TypeError", 0, (script.change("b"),), failed=True)

    repair = tried(Script(tmp_path, answer), "a")
    assert [change.then for change in repair.changes] == ["a = 1", "b = 1"]
    assert repair.minimal


@pytest.mark.parametrize(("whole", "runs", "kept"), [(True, 1, 2), (False, 2, 1)])
def test_a_change_that_is_whole_is_kept_or_left_out_as_a_whole(
    tmp_path: Path, *, whole: bool, runs: int, kept: int
) -> None:
    def answer(text: str, _script: Script) -> Answer:
        return Answer("fixed" if "c = 1" in text else "not fixed", "Nothing is wrong.", 30)

    script = Script(tmp_path, answer)
    now, then = (
        "\n".join(f"{name} = {n}" for name, n in zip("abc", numbers, strict=True))
        for numbers in ("000", "101")
    )
    change = SourceChange(script.file, 1, now, then, "", whole)
    begun = diagnosed((change,))
    found = with_rewrites(begun, cast("Rerun", script), TrialBudget(), silent).repair
    assert found is not None
    assert (found.verdict, found.minimal) == ("fixed", True)
    assert (len(script.runs), len(found.changes)) == (runs, kept)


def test_a_change_that_looks_sound_and_trains_worse_than_float32_is_no_cure(tmp_path: Path) -> None:
    losses = {"a": stalls(), "b": learns()}

    def answer(text: str, script: Script) -> Answer:
        seen = tuple(step.loss for step in losses["b" if "b = 1" in text else "a"])
        return Answer("fixed", "Nothing is wrong in 40 steps.", 40, losses=seen, lasting=True)

    script = Script(tmp_path, answer)
    begun = diagnosed((script.change("a"), script.change("b")))
    ill = dataclasses.replace(
        begun.evidence, history=History(stalls()), reference=Reference(learns())
    )
    begun = dataclasses.replace(begun, evidence=ill)
    found = with_rewrites(begun, cast("Rerun", script), TrialBudget(), silent).repair
    assert found is not None
    assert [rewrite.verdict for rewrite in found.rewrites] == ["not fixed", "fixed"]
    assert "in float32 at" in found.rewrites[0].reason
    assert [change.then for change in found.changes] == ["b = 1"]
