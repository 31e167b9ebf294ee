"""Data that are not finite, in a training whose first steps search for a loss scale."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from floatline.findings.judge import judge
from floatline.records import Evidence
from tests.findings.evidence import curve, evidence, steps
from tests.findings.patients import backward, missing_data

GAPS = tuple(range(8, 40, 4))
"""Steps whose batch has a gap: float32 loses them as well."""


def holes(search: Iterable[int]) -> Evidence:
    """A search for a scale behind a division, and a gap in the data at every fourth step."""
    first, second = backward().traces[0], missing_data().traces[0]
    losses = curve(1.0, 0.2)
    own = steps(losses, {*search, *GAPS}, 2.0**15)
    return evidence([first, second], own, steps(losses, GAPS, 2.0**15))


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ((0, 1, 2, 3), ["FL601"]),
        ((0, 1, 2, 3, 9, 11, 13, 15, 17), ["FL601", "FL110"]),  # More than a search.
    ],
)
def test_a_search_for_a_scale_is_no_second_fault(
    search: tuple[int, ...], expected: list[str]
) -> None:
    failures = [f.rule for f in judge(holes(search)).findings if f.severity == "failure"]
    assert failures == expected
