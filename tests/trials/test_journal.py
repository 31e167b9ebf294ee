"""Finished trials come back after an interruption, and only for the same training."""

from __future__ import annotations

from pathlib import Path

import pytest

from floatline.errors import InputError
from floatline.precision.plan import Plan
from floatline.records import Configuration, SourceLine, StepRecord
from floatline.repairs import Trial
from floatline.trials.journal import Journal, fingerprint

DONE = Trial(("a", "b"), Plan(), "fixed", "It trains.", 40, 2, 0.5, 0.25, 1.5, (0.75, 0.5), (0.25,))
HALF = Configuration("mixed_float16")
STEPS = tuple(StepRecord(index, 1.0 / (index + 1)) for index in range(30))


def test_a_trial_is_remembered_with_all_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    Journal(file, "one", 40).keep(DONE)
    again = Journal(file, "one", 40)
    assert again.recall(("a", "b"), 40, Plan()) == DONE
    assert again.recall(("a",), 40, Plan()) is None
    assert again.recall(("a", "b"), 120, Plan()) is None
    assert again.reused == 1


def test_a_longer_watch_goes_on_with_the_steps_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    Journal(file, "one", 40).keep(DONE)
    assert Journal(file, "one", 55).steps == 40


def test_another_training_starts_anew(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    Journal(file, "one", 40).keep(DONE)
    assert Journal(file, "other", 40).recall(("a", "b"), 40, Plan()) is None
    assert Journal(file, "one", 40).recall(("a", "b"), 40, Plan()) is None


def test_what_decided_nothing_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    crashed = Trial(("a",), Plan(), "undecided", "The trial raised MemoryError: ", 3)
    Journal(file, "one", 40).keep(crashed)
    assert Journal(file, "one", 40).recall(("a",), 3, Plan()) is None


def test_half_a_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    Journal(file, "one", 40).keep(DONE)
    with file.open("a", encoding="utf-8") as stream:
        stream.write('{"remedies": ["c"], "verd')
    again = Journal(file, "one", 40)
    assert again.recall(("a", "b"), 40, Plan()) == DONE
    assert again.recall(("c",), 40, Plan()) is None


def test_a_file_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    file.write_text("my notes\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds something else"):
        Journal(file, "one", 40)
    assert file.read_text(encoding="utf-8") == "my notes\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be kept in .*gone"):
        Journal(tmp_path / "gone" / "plan.trials", "one", 40)


def test_an_ended_search_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json.trials"
    journal = Journal(file, "one", 40)
    journal.keep(DONE)
    journal.finish()
    assert not file.exists()


def test_trainings_differ_by_losses_setting_and_remedies() -> None:
    told = fingerprint(HALF, STEPS, [("a",)])
    assert fingerprint(HALF, (*STEPS, StepRecord(30, 9.0)), [("a",)]) == told
    assert fingerprint(HALF, STEPS[1:], [("a",)]) != told
    moved = Configuration("mixed_float16", source=SourceLine("train.py", 7))
    assert fingerprint(moved, STEPS, [("a",)]) == told
    assert fingerprint(Configuration("float32"), STEPS, [("a",)]) != told
    assert fingerprint(HALF, STEPS, [("b",)]) != told
