"""Rounded integers are shown where the user can see them."""

from __future__ import annotations

import dataclasses

import pytest

from floatline.records import Evidence, SourceLine
from tests.findings.evidence import conclude
from tests.findings.patients import identifiers

MADE, TAKEN = SourceLine("/home/me/train.py", 40), SourceLine("/home/me/train.py", 30)
KERAS = SourceLine("/lib/keras/src/dtype_policies/dtype_policy.py", 161)


def cast_by_the_policy(automatic: SourceLine | None, reader: str | None) -> Evidence:
    """The ids are narrowed at the border of the model, and taken out of the table inside it."""
    case = identifiers()
    sites = list(case.traces[0].sites)
    border = dataclasses.replace(sites[1].place, layer="net", source=MADE, library=automatic)
    inside = dataclasses.replace(sites[2].place, layer=reader, source=TAKEN)
    sites[1] = dataclasses.replace(sites[1], place=border)
    sites[2] = dataclasses.replace(sites[2], place=inside)
    trace = dataclasses.replace(case.traces[0], sites=tuple(sites))
    return dataclasses.replace(case, traces=(trace,))


@pytest.mark.parametrize(
    ("automatic", "reader", "line"),
    [
        (KERAS, "net", 30),  # Keras casts: what the layer does with it is the user's line.
        (None, "net", 40),  # The user casts: that is the line.
        (KERAS, "net/inner", 40),  # An inner layer only receives it: the outer one is to change.
    ],
)
def test_the_line_that_takes_integers_out_of_what_a_policy_cast(
    automatic: SourceLine | None, reader: str, line: int
) -> None:
    finding = conclude(cast_by_the_policy(automatic, reader)).findings[0]
    assert finding.rule == "FL303"
    assert finding.place is not None
    assert finding.place.source is not None
    assert (finding.place.layer, finding.place.source.line) == ("net", line)
