"""Laws over every rule: a new rule joins the table and gets them for free."""

from __future__ import annotations

import re

import pytest

from floatline.errors import InputError
from floatline.findings.case import study
from floatline.findings.page import HEADINGS, markdown, page
from floatline.findings.rule import CannotTell, Clear, Found, Result, Rule
from floatline.findings.table import RULES, rule_named
from floatline.records import Evidence, Trace
from tests.findings.evidence import Sketch, configuration, evidence, learns, steps
from tests.findings.patients import PATIENTS

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def healthy() -> Evidence:
    sketch = Sketch()
    batch = sketch.add("x", role="input", dtype="float32", layer=None)
    product = sketch.add("MatMul", sketch.add("Cast", batch, error=1e-4), error=4e-4)
    loss = sketch.loss(product)
    sketch.gradient("block", sketch.add("MatMul", loss, phase="backward"), error=1e-3)
    return evidence([sketch.trace(0, "first", 2.0**15)], learns(), learns())


def empty(*, traces: bool) -> Evidence:
    return evidence([Trace(0, "first", ())] if traces else [], [], [])


def test_ids_are_unique_and_in_order() -> None:
    ids = [rule.id for rule in RULES]
    assert ids == sorted(set(ids))
    assert len({rule.cause for rule in RULES}) == len(RULES)


def test_every_rule_has_a_patient() -> None:
    assert list(PATIENTS) == [rule.id for rule in RULES]


@every_rule
def test_names(rule: Rule) -> None:
    assert re.fullmatch(r"FL[1-7]\d\d", rule.id)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.cause)
    assert type(rule).__module__.endswith(f"{rule.id.lower()}_{rule.cause.replace('-', '_')}")


@every_rule
def test_remedies_are_sentences(rule: Rule) -> None:
    assert 1 <= len(rule.remedies) <= 4
    assert all(len(remedy) > 20 and remedy.endswith(".") for remedy in rule.remedies)


@every_rule
def test_page_is_complete(rule: Rule) -> None:
    leaf = page(rule)
    assert tuple(heading for heading, _ in leaf.sections) == HEADINGS
    assert all(text.strip() for _, text in leaf.sections)
    assert leaf.title.endswith(".")
    assert markdown(leaf).count("\n## ") == len(HEADINGS)


@every_rule
def test_quiet_on_healthy_evidence(rule: Rule) -> None:
    assert rule.check(study(healthy())) == Clear()


@every_rule
@pytest.mark.parametrize("traces", [True, False])
def test_never_raises_on_empty_evidence(rule: Rule, traces: bool) -> None:
    assert isinstance(rule.check(study(empty(traces=traces))), Clear | CannotTell)


@every_rule
def test_never_raises_without_a_reference(rule: Rule) -> None:
    for patient in (build for builds in PATIENTS.values() for build in builds):
        case = patient()
        alone = Evidence(case.configuration, case.history, case.traces)
        assert isinstance(rule.check(study(alone)), Result)


def test_a_page_with_other_headings_is_refused() -> None:
    class Careless(Rule):
        """A fault.

        Meaning:
            Something.
        """

        id = "FL999"
        cause = "no-cause"
        phase = "forward"
        remedies = ("Do something about this.",)

        def check(self, case: object) -> Result:
            return Found(())

    with pytest.raises(InputError, match="FL999 has the headings"):
        page(Careless())


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no rule 'FL000'") as caught:
        rule_named("FL000")
    assert "FL110" in caught.value.advice


def test_advice_is_not_given_to_a_float32_training() -> None:
    case = evidence(config=configuration("float32", "float32", scaling=False))
    assert all(rule.check(study(case)) == Clear() for rule in RULES)


def test_steps_halve_the_scale() -> None:
    assert [s.loss_scale for s in steps([1.0] * 3, (0, 1), 8.0)] == [8.0, 4.0, 2.0]
