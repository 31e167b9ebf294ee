"""A function that is watched in the place of another one works on that one's variables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from floatline.capture.cells import lent_variables, variables_of

OUTSIDE = 3


def epoch(*, early: bool) -> tuple[Callable[[int], None], Callable[[], int]]:
    if not early:
        total = 0

    def add(x: int) -> None:
        nonlocal total
        total = x + OUTSIDE

    return add, lambda: total


def test_a_variable_that_is_not_assigned_yet_is_assigned_for_its_owner() -> None:
    (first, first_total), (second, second_total) = epoch(early=False), epoch(early=True)
    with lent_variables(first, second):
        with pytest.raises(NameError):
            first_total()
        first(1)
    assert second_total() == 4


def test_they_come_back_when_the_step_raises() -> None:
    (first, _), (second, second_total) = epoch(early=False), epoch(early=False)
    with pytest.raises(TypeError), lent_variables(first, second):
        first("one")  # type: ignore[arg-type]  # (what is tested)
    assert second_total() == 0


def test_functions_of_other_code_and_none_lend_nothing() -> None:
    add, total = epoch(early=False)
    with lent_variables(None, add), lent_variables(total, lambda: 1), lent_variables(add, add):
        add(1)
    assert total() == 4


def test_names_are_found_around_a_function_as_far_as_they_are_assigned() -> None:
    late, _ = epoch(early=True)
    soon, _ = epoch(early=False)
    assert variables_of(late) == {"OUTSIDE": 3}
    assert variables_of(soon) == {"OUTSIDE": 3, "total": 0}
