"""From JSON back to the diagnosis: the round trip, older versions, and what is no diagnosis."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import floatline
from floatline import records
from floatline.errors import InputError
from floatline.report import json as report_json
from floatline.report import reading
from floatline.report.portable import portable
from tests.report import samples
from tests.report.diagnoses import DIAGNOSES

STORED = Path(__file__).with_name("stored")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DIAGNOSES)
def test_what_is_written_is_read_back(diagnosis: records.Diagnosis) -> None:
    # By their text, for a NaN equals nothing, itself included.
    back = reading.loads(report_json.dumps(diagnosis, Path("/nowhere")))
    assert repr(back) == repr(diagnosis)


@pytest.mark.parametrize("name", ["precision", "healthy"])
def test_the_samples_come_back_with_their_paths_as_kept(name: str) -> None:
    diagnosis = getattr(samples, name)()
    kept = portable(diagnosis)
    assert repr(reading.loads(report_json.dumps(diagnosis))) == repr(kept)
    assert repr(portable(kept)) == repr(kept)


def test_a_diagnosis_is_saved_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "diagnosis.json"
    samples.precision().save(file)
    again = floatline.load(file)
    assert again.verdict == "precision"
    assert repr(again) == repr(portable(samples.precision()))


@pytest.mark.parametrize("version", range(1, report_json.SCHEMA_VERSION))
def test_every_older_version_still_loads(version: int) -> None:
    text = (STORED / f"diagnosis-{version}.json").read_text(encoding="utf-8")
    assert json.loads(text)["schema_version"] == version
    diagnosis = floatline.load(STORED / f"diagnosis-{version}.json")
    again = reading.loads(report_json.dumps(diagnosis))
    assert repr(again) == repr(diagnosis)


def test_version_1_keeps_what_it_told() -> None:
    document = json.loads((STORED / "diagnosis-1.json").read_text(encoding="utf-8"))
    diagnosis = floatline.load(STORED / "diagnosis-1.json")
    assert [f.rule for f in diagnosis.findings] == [f["rule"] for f in document["findings"]]
    for trace, old in zip(diagnosis.evidence.traces, document["traces"], strict=True):
        assert len(trace.sites) + trace.left_out == old["operations_measured"]
        for gradient, row in zip(trace.gradients, old["gradients"], strict=True):
            measured = trace.sites[gradient.site].statistics
            assert gradient.variable == row["variable"]
            assert (measured.count, measured.flushed) == (row["count"], row["flushed"])
            assert measured.flushed_share == pytest.approx(row["flushed_share"], rel=0.01)
    assert diagnosis.repair is not None
    assert [t.reason for t in diagnosis.repair.trials] == [
        trial["reason"] for trial in document["repair"]["trials"]
    ]


def changed(*path: Any, to: Any) -> str:
    """The text of a sample in which one value is another."""
    document = report_json.to_json(samples.precision())
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: Expecting property name .* line 1"),
        ("[]", "no diagnosis of Floatline's"),
        ('{"schema_version": 1, "rules": []}', "no diagnosis of Floatline's"),
        (changed("schema_version", to=99), "schema version 99; this Floatline reads up to 2"),
        (changed("schema_version", to=True), "no diagnosis"),
        (changed("verdict", to="ill"), r"the diagnosis\.verdict is 'ill', but must be"),
        (changed("history", "steps", 2, "loss", to="low"), r"steps\[2\]\.loss is 'low'"),
        (changed("history", "steps", to={}), r"history\.steps is '\{\}', but must be a list"),
        (changed("environment", to=[]), "environment is .* must be an object"),
        (changed("traces", 0, "sites", 1, "inputs", to=[7]), r"traces\[0\] points at site 7 of 5"),
        (changed("traces", 0, "losses", to=[-1]), "points at site -1 of 5"),
        (changed("traces", 0, "sites", 1, "index", to=4), r"sites\[1\] has the index 4"),
        (changed("traces", 0, "sites", 1, "dtype", to=16), "dtype is '16', but must be text"),
        (changed("traces", to=None), "no diagnosis: TypeError"),
    ],
)
def test_what_is_no_diagnosis_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reading.loads(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.json' cannot be read"):
        floatline.load(tmp_path / "missing.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(InputError, match=r"broken\.json: This JSON is no diagnosis"):
        floatline.load(tmp_path / "broken.json")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in '\.pdf'"):
        samples.precision().save(tmp_path / "report.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        samples.precision().save(tmp_path / "missing" / "report.json")


def test_unknown_keys_are_ignored() -> None:
    text = changed("unheard_of", to=1)
    assert reading.loads(text).verdict == "precision"
