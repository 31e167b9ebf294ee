"""A repair is told with its proof, its cost and the lines that could read otherwise."""

from __future__ import annotations

import dataclasses
import json
from io import StringIO
from pathlib import Path

import jsonschema
from rich.console import Console

import floatline
from floatline.precision.plan import Plan
from floatline.repairs import Remedy, Repair, SourceChange, Trial
from floatline.report import terminal
from floatline.report.json import to_json
from tests.report import samples

BASE = Path("/home/ada")
REMEDY = Remedy(
    "float32-layer",
    "Keep layer 'head' in float32.",
    "It computes at float32 speed.",
    Plan().with_rule("float32", path="head", reason="It overflows."),
    "FL101",
)
REPAIR = Repair(
    "fixed",
    "Keep layer 'head' in float32. Shown by 2 trainings.",
    REMEDY.plan,
    (REMEDY,),
    (
        Trial((), Plan(), "not fixed", "30 of 40 steps were skipped.", 40, 30, None, 0.25, 1.0),
        Trial((REMEDY.summary,), REMEDY.plan, "fixed", "It trains.", 40, 0, 0.26, 0.25, 1.0),
    ),
    minimal=True,
    lasting=True,
    changes=(
        SourceChange(
            "/home/ada/train.py", 7, "y = x * x", 'x = ops.cast(x, "float32")\ny = x * x', "Why."
        ),
    ),
)
DIAGNOSIS = dataclasses.replace(samples.precision(), repair=REPAIR)


def test_the_json_fits_the_schema() -> None:
    folder = Path(floatline.__file__).parent / "report" / "schema"
    schema = json.loads((folder / "diagnosis-2.json").read_text(encoding="utf-8"))
    document = to_json(DIAGNOSIS, BASE)
    jsonschema.validate(document, schema)
    assert document["repair"]["changes"] == [
        {
            "file": "train.py",
            "line": 7,
            "now": "y = x * x",
            "then": 'x = ops.cast(x, "float32")\ny = x * x',
            "reason": "Why.",
        }
    ]


def test_a_person_sees_result_cost_trials_and_lines() -> None:
    stream = StringIO()
    Console(file=stream, width=90).print(terminal.render(DIAGNOSIS, BASE))
    text = stream.getvalue()
    for words in (
        "Fixed: Keep layer 'head' in float32.",
        "Cost: It computes at float32 speed.",
        "train.py:7: Why.",
        "- y = x * x",
        '+ x = ops.cast(x, "float32")',
        "+ y = x * x",
        "2 trainings in 2 s.",
    ):
        assert words in text
