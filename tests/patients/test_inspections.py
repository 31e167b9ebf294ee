"""What `floatline inspect` says of patients before they train: no healthy one is called wrong.

A normal run looks at a few; `pytest -m patients_all` looks at all of them.
"""

from __future__ import annotations

import keras
import pytest

from benchmarks.inspect_zoo import told
from tests.patients.cases import TRUTHS
from tests.patients.truth import Truth

HERE = [
    truth.on(keras.backend.backend())
    for truth in TRUTHS
    if keras.backend.backend() in truth.backends
]
HEALTHY = [truth for truth in HERE if truth.verdict == "healthy"]
NEAR = ("healthy/triplet_distances", "healthy/unit_vectors", "healthy/infinite_mask")
"""Healthy ones whose numbers are at the edge of what can be said without a run."""

TOLD = ("precision/batch_statistics", "precision/masked_attention", "precision/padded_encoder")
"""Sick ones whose fault is a number in the code of a layer."""

the_script_may_warn = pytest.mark.filterwarnings("ignore")


def name_of(truth: Truth) -> str:
    return truth.script


def wrong(truth: Truth) -> list[str]:
    return [note.setting for note in told(truth) if note.grade == "wrong"]


@the_script_may_warn
@pytest.mark.parametrize("truth", [t for t in HEALTHY if t.quick or t.script in NEAR], ids=name_of)
def test_what_trains_is_not_called_wrong(truth: Truth) -> None:
    assert wrong(truth) == []


@the_script_may_warn
@pytest.mark.patients_all
@pytest.mark.parametrize(
    "truth", [t for t in HEALTHY if not t.quick and t.script not in NEAR], ids=name_of
)
def test_nor_is_any_other(truth: Truth) -> None:
    assert wrong(truth) == []


@the_script_may_warn
@pytest.mark.parametrize("truth", [t for t in HERE if t.script in TOLD], ids=name_of)
def test_a_number_that_is_at_fault_is_named_with_its_line(truth: Truth) -> None:
    found = [note for note in told(truth) if note.grade == "wrong"]
    assert {note.cause for note in found} == set(truth.causes)
    assert {note.source.line for note in found if note.source} == set(truth.lines)
