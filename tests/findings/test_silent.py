"""Integers that a layer's policy rounds at its border are shown where they are taken out, too."""

from __future__ import annotations

import dataclasses

from floatline.records import Evidence, SourceLine
from tests.findings.evidence import conclude
from tests.findings.patients import identifiers

MADE, TAKEN = SourceLine("/home/me/train.py", 40), SourceLine("/home/me/train.py", 30)


def rounded(made: SourceLine | None, taken: SourceLine | None) -> Evidence:
    """The ids are rounded at one line and become integers at another."""
    case = identifiers()
    sites = list(case.traces[0].sites)
    for index, source in ((1, made), (2, taken)):
        place = dataclasses.replace(sites[index].place, source=source)
        sites[index] = dataclasses.replace(sites[index], place=place)
    trace = dataclasses.replace(case.traces[0], sites=tuple(sites))
    return dataclasses.replace(case, traces=(trace,))


def said(made: SourceLine | None, taken: SourceLine | None) -> str:
    finding = conclude(rounded(made, taken)).findings[0]
    assert finding.rule == "FL303"
    assert finding.place is not None
    assert finding.place.source == made
    return finding.summary


def test_both_lines_are_told_where_they_are_two() -> None:
    assert said(MADE, TAKEN).endswith("come out wrong at train.py:30")
    assert said(TAKEN, TAKEN).endswith("come out wrong")
    assert said(MADE, None).endswith("come out wrong")
    assert said(None, TAKEN).endswith("come out wrong at train.py:30")
