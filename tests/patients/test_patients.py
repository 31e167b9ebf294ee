"""Real trainings of every kind are told apart: why they fail and where, or that nothing is wrong.

A normal run examines one script of each kind; `pytest -m patients_all` examines all of them, one
after the other in one process, which takes about a quarter of an hour.
"""

from __future__ import annotations

import ast
from pathlib import Path

import keras
import pytest

from tests.patients.cases import TRUTHS
from tests.patients.clinic import examine
from tests.patients.truth import SCRIPTS, Truth

HERE = [truth for truth in TRUTHS if keras.backend.backend() in truth.backends]
QUICK = [truth for truth in HERE if truth.quick]
REST = [truth for truth in HERE if not truth.quick]
# What the scripts' own trainings warn of is theirs, as it is under the command line.
the_script_may_warn = pytest.mark.filterwarnings("ignore")


def name_of(truth: Truth) -> str:
    return truth.script


def check(truth: Truth) -> None:
    examination = examine(truth)
    first = examination.first
    said = f"{examination.diagnosis.explanation} {first.summary if first else 'Nothing found.'}"
    assert examination.errors == [], said


@the_script_may_warn
@pytest.mark.parametrize("truth", QUICK, ids=name_of)
def test_a_patient_of_each_kind(truth: Truth) -> None:
    check(truth)


@the_script_may_warn
@pytest.mark.patients_all
@pytest.mark.parametrize("truth", REST, ids=name_of)
def test_all_other_patients(truth: Truth) -> None:
    check(truth)


@the_script_may_warn
def test_a_finding_carries_its_numbers() -> None:
    truth = next(truth for truth in QUICK if truth.script == "precision/row_sum")
    first = examine(truth).first
    assert first is not None
    saturated, elements = first.evidence["saturated_elements"], first.evidence["elements"]
    assert isinstance(saturated, int)
    assert isinstance(elements, int)
    assert 0 < saturated <= elements
    largest = first.evidence["shadow_max_abs"]
    assert isinstance(largest, float)
    assert largest > 65504
    assert "row_sum.py:" in first.summary


def test_every_script_has_its_truth() -> None:
    assert sorted(truth.path for truth in TRUTHS) == sorted(SCRIPTS.glob("*/*.py"))


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*/*.py")), ids=lambda path: path.stem)
def test_a_script_is_a_users(path: Path) -> None:
    """It says nothing to Floatline but what marks a hand-written step."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert {n for n in names if n.startswith("floatline")} <= {"floatline.training_step"}


@the_script_may_warn
def test_a_healthy_training_may_be_given_advice() -> None:
    truth = next(truth for truth in TRUTHS if truth.script == "healthy/odd_vocabulary")
    examination = examine(truth)
    assert examination.errors == []
    assert [finding.rule for finding in examination.diagnosis.findings] == ["FL701"]
