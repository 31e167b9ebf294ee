"""Every patient's first finding is its own root cause, and its numbers are told."""

from __future__ import annotations

import pytest

from floatline.findings.judge import judge, needs_reference
from floatline.findings.table import rule_named
from tests.findings.evidence import Build
from tests.findings.patients import PATIENTS

CASES = [(rule, build) for rule, builds in PATIENTS.items() for build in builds]
every_patient = pytest.mark.parametrize(
    ("rule", "build"), CASES, ids=[f"{rule}-{build.__name__}" for rule, build in CASES]
)
ADVICE = ("FL501", "FL503", "FL701")
NOT_PRECISION = ("FL601", "FL602", "FL603", "FL604", "FL605", "FL606")


@every_patient
def test_first_finding_is_the_root_cause(rule: str, build: Build) -> None:
    judgement = judge(build())
    first = judgement.findings[0]
    assert (first.rule, first.cause) == (rule, rule_named(rule).cause)
    assert first.summary.strip()
    assert first.remedies
    assert set(first.remedies) <= set(rule_named(rule).remedies)
    expected = "not-precision" if rule in NOT_PRECISION else "precision"
    assert judgement.verdict == ("healthy" if rule in ADVICE else expected)
    assert judgement.explanation.endswith(".")


@every_patient
def test_checks_name_every_rule_once(rule: str, build: Build) -> None:
    judgement = judge(build())
    found = [check.rule for check in judgement.checks if check.verdict == "found"]
    assert sorted(found) == sorted(finding.rule for finding in judgement.findings)
    assert rule in found


@every_patient
def test_asks_for_a_reference_when_it_matters(rule: str, build: Build) -> None:
    case = build()
    independent = rule in (*ADVICE, "FL404", "FL605", "FL606")
    asked = needs_reference(case.configuration, case.history, case.traces)
    assert asked is not independent
