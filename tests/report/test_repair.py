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
from floatline.repairs import Remedy, Repair, Rewrite, SourceChange, Trial
from floatline.report import reading, terminal
from floatline.report.json import dumps, to_json
from floatline.report.portable import portable
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
CHANGED = dataclasses.replace(
    REPAIR,
    rewrites=(
        Rewrite((), "undecided", "It ended with exit code 1.", 0, 3.0),
        Rewrite(REPAIR.changes, "fixed", "Nothing is wrong in 40 steps.", 40, 12.5),
    ),
    patch="--- a/train.py\n+++ b/train.py\n",
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
            "whole": False,
        }
    ]


def test_of_a_long_change_a_person_sees_what_differs() -> None:
    """A loss scale is made far above the lines that use it."""
    now = [f"line {number}" for number in range(20)]
    then = [*now[:4], "scaler = made", *now[4:15], "scaler.step()", *now[16:]]
    change = SourceChange("/home/ada/train.py", 7, "\n".join(now), "\n".join(then), "Why.")
    repair = dataclasses.replace(REPAIR, changes=(change,))
    stream = StringIO()
    shown = dataclasses.replace(DIAGNOSIS, repair=repair)
    Console(file=stream, width=90).print(terminal.render(shown, BASE))
    rows = [row.strip() for row in stream.getvalue().splitlines()]
    begin = rows.index("train.py:7: Why.") + 1
    assert rows[begin : begin + 9] == [
        "...",
        "line 3",
        "+ scaler = made",
        "line 4",
        "...",
        "line 14",
        "- line 15",
        "+ scaler.step()",
        "line 16",
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


def test_runs_with_changes_come_back_from_json() -> None:
    diagnosis = dataclasses.replace(samples.precision(), repair=CHANGED)
    kept = portable(diagnosis, BASE).repair
    assert reading.loads(dumps(diagnosis, BASE)).repair == kept
    assert kept is not None
    assert kept.rewrites[1].changes[0].file == "train.py"


def test_a_person_sees_whether_the_lines_were_tried() -> None:
    stream = StringIO()
    diagnosis = dataclasses.replace(samples.precision(), repair=CHANGED)
    Console(file=stream, width=90).print(terminal.render(diagnosis, BASE))
    text = " ".join(stream.getvalue().split())
    assert "Tried: the changed script was run (2 runs). Nothing is wrong in 40 steps." in text
