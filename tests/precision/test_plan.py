"""Plans as records and as text: they come back as they were, and bad ones are told apart."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

import floatline
from floatline.errors import InputError
from floatline.precision.plan import Plan
from floatline.precision.policies import POLICIES
from floatline.precision.rule import (
    LOSS_SCALES,
    OPTIMIZER_SETTINGS,
    Epsilon,
    LossScale,
    Rule,
    Setting,
)
from tests.architecture import laws
from tests.precision.plans import plans

SCHEMA: dict[str, Any] = json.loads(
    (Path(floatline.__file__).parent / "precision" / "schema" / "plan-1.json").read_text()
)
HALF = Plan.of("mixed_float16")
# A machine that is busy draws slowly; that is no fault of a plan's.
patient = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
_INFINITE = '{"kind": "fixed", "reason": "r", "settings": {"value": 1e999}}'
VALID = {"schema_version": 1, "rules": [{"policy": "float32", "path": "a", "reason": "r"}]}


@patient
@given(plans())
def test_a_plan_comes_back_from_its_text(plan: Plan) -> None:
    text = plan.to_json()
    assert Plan.from_json(text) == plan
    assert Plan.from_json(text).to_json() == text


@patient
@given(plans())
def test_the_text_fits_the_schema(plan: Plan) -> None:
    jsonschema.validate(json.loads(plan.to_json()), SCHEMA)


@patient
@given(plans(), plans())
def test_plans_differ_where_their_texts_do(one: Plan, other: Plan) -> None:
    assert (one.diff(other) == "") == (one == other)


def test_the_schema_knows_what_the_records_know() -> None:
    parts = SCHEMA["$defs"]
    assert parts["rule"]["properties"]["policy"]["enum"] == list(POLICIES)
    assert parts["loss_scale"]["properties"]["kind"]["enum"] == list(LOSS_SCALES)
    assert parts["setting"]["properties"]["name"]["enum"] == list(OPTIMIZER_SETTINGS)
    named = set(parts["loss_scale"]["properties"]["settings"]["propertyNames"]["enum"])
    assert named == {name for settings in LOSS_SCALES.values() for name in settings}


def test_a_plan_without_epsilons_is_one_that_older_versions_read() -> None:
    assert set(json.loads(HALF.to_json())) == {"schema_version", "rules", "loss_scale", "optimizer"}


def test_the_example_of_the_document_is_a_plan() -> None:
    page = (laws.ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```$", page, re.M | re.S)
    jsonschema.validate(json.loads(example), SCHEMA)
    assert Plan.from_json(example).loss_scale == LossScale("fixed", "Measured.", {"value": 1024})


def test_a_diff_shows_the_rule_that_was_added() -> None:
    lines = HALF.diff(HALF.with_rule("float32", path="head", reason="why")).splitlines()
    assert '+      "path": "head",' in lines
    assert not any(line.startswith("-") and "policy" in line for line in lines)


def test_evidence_is_a_copy() -> None:
    evidence = {"trial": [1, 2]}
    rule = Rule("float32", "r", evidence=evidence)
    evidence["trial"].append(3)
    assert rule.evidence == {"trial": [1, 2]}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Plan.of("mixed_flaot16"), ["'mixed_flaot16'", "Did you mean 'mixed_float16'?"]),
        (lambda: Plan.of("int8"), ["'int8'", "Allowed: mixed_float16"]),
        (lambda: Plan.of("mixed_float16", ""), ["reason ''", "Say in a sentence"]),
        (lambda: Rule("float32", "r", path="a", regex="a"), ["both", "Keep one"]),
        (lambda: Rule("float32", "r", regex="a("), ["'a('", "cannot be read"]),
        (lambda: Rule("float32", "r", evidence={"x": object()}), ["cannot hold", "finite"]),
        (lambda: Rule("float32", "r", evidence={"x": float("nan")}), ["cannot hold"]),
        (lambda: LossScale("dynamik", "r"), ["'dynamik'", "Did you mean 'dynamic'?"]),
        (lambda: LossScale("fixed", "r", {"scale": 8}), ["'scale'", "Allowed: value"]),
        (lambda: LossScale("fixed", "r", {"value": 0}), ["value", "is 0", "positive and finite"]),
        (lambda: LossScale("fixed", "r", {"value": -8.0}), ["-8.0", "positive and finite"]),
        (lambda: LossScale("fixed", "r", {"value": float("inf")}), ["inf", "finite"]),
        (lambda: LossScale("fixed", "r", {"value": True}), ["True", "number"]),
        (lambda: Setting("epsilno", 1.0, "r"), ["'epsilno'", "Did you mean 'epsilon'?"]),
        (lambda: Setting("epsilon", 0.0, "r"), ["epsilon", "0.0"]),
        (lambda: Epsilon("norm", 0.0, "r"), ["epsilon of the layers at 'norm'", "0.0"]),
        (lambda: Epsilon("norm", 1e-4, " "), ["The epsilon of 'norm'", "Say in a sentence"]),
    ],
)
def test_parts_that_cannot_be(make: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        make()
    assert all(word in str(raised.value) for word in words), str(raised.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: HALF.with_rule("float32", path="a", reason="r").with_rule(
                "float16", path="a", reason="r"
            ),
            ["Rules 2 and 3", "'a'", "'float32' and 'float16'"],
        ),
        (
            lambda: (
                Plan().with_rule("float32", path="a", reason="r").with_rule("float16", reason="r")
            ),
            ["Rule 2 is for every layer", "Put it first"],
        ),
        (
            lambda: Plan.of("mixed_bfloat16").with_loss_scale("fixed", reason="r", value=8),
            ["fixed loss scale", "none of its rules", "Remove the loss scale"],
        ),
        (
            lambda: HALF.with_optimizer("epsilon", 1e-4, reason="r").with_optimizer(
                "epsilon", 1e-3, reason="r"
            ),
            ["epsilon is given twice", "0.0001", "0.001"],
        ),
        (
            lambda: HALF.with_optimizer("clipnorm", 1, reason="r").with_optimizer(
                "clipvalue", 1, reason="r"
            ),
            ["clipnorm, clipvalue", "Keep one"],
        ),
        (
            lambda: Plan().with_epsilon("a", 1e-4, reason="r").with_epsilon("a", 1e-3, reason="r"),
            ["The epsilon of 'a' is given twice", "0.0001", "0.001"],
        ),
    ],
)
def test_plans_that_contradict_themselves(make: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        make()
    assert all(word in str(raised.value) for word in words), str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["not JSON", "line 1"]),
        ("[]", ["is a list", "object"]),
        ("{}", ["schema_version is None", "must be 1"]),
        ('{"schema_version": true}', ["schema_version is True"]),
        ('{"schema_version": 2}', ["version 2", "reads version 1", "Update Floatline"]),
        ('{"schema_version": 1, "rule": []}', ["'rule'", "Did you mean 'rules'?"]),
        ('{"schema_version": 1, "rules": {}}', ["rules of the plan is an object", "list"]),
        ('{"schema_version": 1, "rules": [3]}', ["rules, entry 1", "a number", "object"]),
        ('{"schema_version": 1, "rules": [{"policy": 3}]}', ["policy is a number, 3", "text"]),
        ('{"schema_version": 1, "rules": [{"policy": "float32"}]}', ["'reason' is missing"]),
        ('{"schema_version": 1, "loss_scale": 1}', ["loss_scale: this is a number"]),
        (
            '{"schema_version": 1, "loss_scale": {"kind": "fixed", "settings": {"value": 1e999}}}',
            ["loss_scale: 'reason' is missing"],
        ),
        (
            '{"schema_version": 1, "optimizer": [{"name": "epsilon", "value": true}]}',
            ["value is true or false", "a number"],
        ),
        (
            '{"schema_version": 1, "loss_scale": {"kind": "fixed", "reason": "r"}}',
            ["loss_scale: The fixed loss scale has no value", '"value": 1024'],
        ),
        (f'{{"schema_version": 1, "loss_scale": {_INFINITE}}}', ["loss_scale: value", "inf"]),
        ('{"schema_version": 1, "epsilons": [{"path": "a"}]}', ["epsilons, entry 1", "'value'"]),
        ('{"schema_version": 1, "rules": [], "rules": []}', ["'rules' twice"]),
        (
            '{"schema_version": 1, "rules": [{"policy": "half", "reason": "r"}]}',
            ["rules, entry 1", "'half'", "every layer"],
        ),
    ],
)
def test_texts_that_are_no_plan(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        Plan.from_json(text)
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"schema_version": 2}')
    with pytest.raises(InputError, match=r"plan\.json: .*version 2"):
        Plan.load(file)
    with pytest.raises(InputError, match="cannot be read"):
        Plan.load(tmp_path / "other.json")
    file.write_text(json.dumps(VALID))
    assert Plan.load(os.fspath(file)).rules[0].path == "a"
