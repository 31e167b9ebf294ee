"""The search for the smallest set of remedies, on cures that are known beforehand."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.repairs import TrialVerdict
from floatline.trials.search import Names, search

NAMES = tuple("abcdefgh")


class Patient:
    """Is cured by any superset of a set, and counts how often it is tried."""

    def __init__(self, *cures: str, patience: int | None = None) -> None:
        self.cures = [set(cure) for cure in cures]
        self.patience = patience
        self.tried: list[frozenset[str]] = []

    def __call__(self, names: Names) -> TrialVerdict | None:
        if self.patience is not None and len(self.tried) >= self.patience:
            return None
        self.tried.append(frozenset(names))
        return "fixed" if any(cure <= set(names) for cure in self.cures) else "not fixed"


def test_what_needs_no_remedy_gets_none() -> None:
    found = search([("a",)], Patient(""))
    assert (found.chosen, found.minimal, found.exhausted) == ((), True, False)


def test_the_first_set_that_cures_is_taken() -> None:
    patient = Patient("b", "c")
    assert search([("a",), ("b",), ("c",)], patient).chosen == ("b",)
    assert frozenset("c") not in patient.tried


def test_nothing_is_chosen_when_nothing_cures() -> None:
    found = search([("a",), ("a", "b")], Patient("z"))
    assert (found.chosen, found.exhausted) == (None, False)


@given(cure=st.sets(st.sampled_from(NAMES), min_size=1))
def test_a_large_set_shrinks_to_the_cure(cure: set[str]) -> None:
    patient = Patient("".join(sorted(cure)))
    found = search([NAMES], patient)
    assert set(found.chosen or ()) == cure
    assert found.minimal
    assert len(patient.tried) == len(set(patient.tried))


@given(cures=st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=3))
def test_whatever_is_chosen_cures_and_none_of_it_can_be_spared(cures: list[set[str]]) -> None:
    patient = Patient(*("".join(sorted(cure)) for cure in cures))
    found = search([NAMES], patient)
    assert found.chosen is not None
    assert patient(found.chosen) == "fixed"
    for rest in combinations(found.chosen, len(found.chosen) - 1):
        assert patient(rest) == "not fixed"


def test_one_of_a_hundred_is_found_in_few_trials() -> None:
    names = tuple(f"layer_{i}" for i in range(100))
    tried: list[Names] = []

    def attempt(chosen: Names) -> TrialVerdict:
        tried.append(chosen)
        return "fixed" if "layer_77" in chosen else "not fixed"

    assert search([names], attempt).chosen == ("layer_77",)
    assert len(tried) <= 2 + 2 * 7 + 2


@pytest.mark.parametrize("patience", [0, 1])
def test_a_spent_budget_is_said(patience: int) -> None:
    found = search([NAMES], Patient("a", patience=patience))
    assert (found.chosen, found.exhausted) == (None, True)


def test_the_best_set_so_far_is_kept_when_the_budget_ends() -> None:
    found = search([NAMES], Patient("h", patience=3))
    assert found.exhausted
    assert not found.minimal
    assert set(found.chosen or ()) < set(NAMES)


def test_an_undecided_removal_does_not_count_as_proof() -> None:
    def attempt(names: Names) -> TrialVerdict:
        return "fixed" if set(names) == {"a", "b"} else "undecided"

    found = search([("a", "b")], attempt)
    assert (found.chosen, found.minimal) == (("a", "b"), False)


def test_a_cure_that_does_not_last_is_none_and_the_search_goes_on() -> None:
    verdicts = {("a",): "fixed", ("b",): "fixed"}
    found = search(
        [("a",), ("b",)],
        lambda names: verdicts.get(names, "not fixed"),  # type: ignore[arg-type,return-value]  # (a verdict)
        lambda names: names != ("a",),
    )
    assert (found.chosen, found.lasting, found.minimal) == (("b",), True, True)


def test_when_nothing_lasts_the_first_cure_is_the_answer_and_said_not_to() -> None:
    found = search(
        [("a",), ("b",)],
        lambda names: "fixed" if names == ("a",) else "not fixed",
        lambda names: False,
    )
    assert (found.chosen, found.lasting) == (("a",), False)


def test_a_larger_set_is_not_reduced_to_one_that_does_not_last() -> None:
    found = search(
        [("a",), ("a", "b")],
        lambda names: "fixed" if "a" in names else "not fixed",
        lambda names: "b" in names,
    )
    assert (found.chosen, found.lasting) == (("a", "b"), True)
