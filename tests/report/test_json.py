"""The JSON form: valid under its schema, strict, complete, bounded, with paths as given."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from floatline import records
from floatline.report import json as report_json
from floatline.report import sites
from floatline.report.portable import MAX_SITES, smaller
from tests.report import samples

SCHEMA_FILE = Path(report_json.__file__).with_name("schema") / "diagnosis-2.json"
DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"
EVERY_SAMPLE = [
    samples.precision(),
    samples.healthy(),
    samples.other("undecided"),
    samples.other("not-precision"),
]


def schema() -> dict[str, Any]:
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def closed(node: Any) -> Any:
    """The schema with every object closed, so that an undocumented key is an error."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: closed(item) for key, item in node.items()}
    if "properties" in node and "required" in node:
        result["additionalProperties"] = False
    return result


@pytest.mark.parametrize("diagnosis", EVERY_SAMPLE, ids=lambda sample: sample.verdict)
def test_every_diagnosis_is_valid_and_holds_no_undocumented_key(
    diagnosis: records.Diagnosis,
) -> None:
    document = json.loads(report_json.dumps(diagnosis))
    jsonschema.Draft202012Validator(closed(schema())).validate(document)


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "ill"),
        (("schema_version",), 1),
        (("findings", 0, "rule"), "X1"),
        (("history", "steps", 0, "loss"), "nan"),
        (("unheard_of",), 1),
    ],
)
def test_the_validation_can_fail(path: tuple[str | int, ...], value: object) -> None:
    document = copy.deepcopy(report_json.to_json(samples.precision()))
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(closed(schema())).validate(document)


def test_numbers_that_json_cannot_write_become_words() -> None:
    text = report_json.dumps(samples.precision())
    document = json.loads(text, parse_constant=lambda word: pytest.fail(f"not strict: {word}"))
    assert document["history"]["steps"][-1]["loss"] == "NaN"
    assert document["findings"][0]["evidence"]["smallest"] == "NaN"
    assert document["traces"][0]["gradients"][1]["error"] == "Infinity"


def test_what_has_no_form_in_json_is_refused() -> None:
    with pytest.raises(TypeError, match="no form in JSON"):
        report_json.strictly({"a": {1, 2}})


def test_files_are_named_relative_to_the_base() -> None:
    place = dataclasses.replace(samples.DIVISION, source=records.SourceLine("/a/run/train.py", 2))
    finding = dataclasses.replace(samples.OVERFLOW, place=place)
    diagnosis = dataclasses.replace(samples.precision(), findings=(finding,))
    (found,) = report_json.to_json(diagnosis, Path("/a/run"))["findings"]
    assert (found["file"], found["line"]) == ("train.py", 2)
    assert found["library_file"] == "/usr/lib/tensorflow/math_grad.py"


def test_every_finding_field_of_the_contract_is_there() -> None:
    found = report_json.to_json(samples.precision())["findings"][0]
    assert found["rule"] == "FL102"
    assert found["cause"] == "backward-overflow"
    assert found["verdict"] == "found"
    assert found["phase"] == "backward"
    assert found["layer"] == "row_share"
    assert found["operation"] == "Mul"
    assert found["evidence"]["saturated"] == 2
    assert found["propagation"] == 37


def test_every_site_of_a_small_trace_is_listed_and_an_origin_is_marked() -> None:
    (trace,) = report_json.to_json(samples.precision())["traces"]
    assert [(site["index"], site["origin"]) for site in trace["sites"]] == [
        (0, False),
        (1, True),
        (2, False),
        (3, False),
        (4, False),
    ]
    assert trace["operations_measured"] == 5
    assert trace["sites_left_out"] == 0
    assert trace["summaries"] == []
    assert trace["sites"][1]["statistics"]["exponents"] == {"15": 1000, "16": 24}


def test_a_large_trace_stays_below_a_megabyte() -> None:
    passing = records.Statistics(
        count=4, inf=1, max_abs=6e4, exponents=dict.fromkeys(range(-40, 0), 1)
    )
    rows = tuple(samples.value(index, passing) for index in range(15_000))
    trace = records.Trace(0, "first", rows)
    evidence = dataclasses.replace(samples.precision().evidence, traces=(trace,))
    text = report_json.dumps(dataclasses.replace(samples.precision(), evidence=evidence))
    assert len(text) < 1_000_000
    (found,) = json.loads(text)["traces"]
    assert (len(found["sites"]), found["sites_left_out"]) == (MAX_SITES, 15_000 - MAX_SITES)
    assert found["operations_measured"] == 15_000


def test_a_smaller_trace_is_valid_and_holds_no_undocumented_key() -> None:
    trace = smaller(samples.traced(), limit=2)
    evidence = dataclasses.replace(samples.precision().evidence, traces=(trace,))
    diagnosis = dataclasses.replace(samples.precision(), evidence=evidence)
    document = json.loads(report_json.dumps(diagnosis))
    assert document["traces"][0]["summaries"]
    jsonschema.Draft202012Validator(closed(schema())).validate(document)


@pytest.mark.parametrize("values", [records.Verdict, records.Moment, records.Role])
def test_the_schema_allows_exactly_the_words_of_the_records(values: Any) -> None:
    text = SCHEMA_FILE.read_text(encoding="utf-8")
    assert json.dumps({"enum": list(get_args(values))}) in text


def test_every_field_of_the_statistics_is_written() -> None:
    fields = [field for field in dataclasses.fields(records.Statistics) if field.type == "int"]
    counts: dict[str, Any] = {field.name: 3 for field in fields}
    full = records.Statistics(**counts)
    trace = records.Trace(0, "first", (samples.value(0, full),))
    (site,) = sites.trace_rows(trace, Path())["sites"]
    assert set(site["statistics"]) == {
        field.name for field in dataclasses.fields(records.Statistics)
    }


def test_every_key_is_documented() -> None:
    documentation = DOCUMENT.read_text(encoding="utf-8")
    keys = set(schema()["properties"])
    for definition in schema()["$defs"].values():
        keys |= set(definition.get("properties", ()))
    assert {key for key in keys if f"`{key}`" not in documentation} == set()
