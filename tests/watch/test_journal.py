"""The logs of a watch: JSON lines that any reader takes, and a table."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from floatline.errors import InputError
from floatline.watch.journal import COLUMNS, journal


def test_json_lines_hold_no_number_that_json_has_not(tmp_path: Path) -> None:
    log = journal(tmp_path / "watch.jsonl")
    log.write({"record": "reading", "loss": math.nan, "layers": [{"headroom": math.inf}]})
    log.write({"record": "reading", "loss": 0.5})
    first, second = map(json.loads, (tmp_path / "watch.jsonl").read_text().splitlines())
    assert first == {"record": "reading", "loss": None, "layers": [{"headroom": None}]}
    assert second["loss"] == 0.5


def test_a_table_has_one_line_of_names_even_when_it_is_continued(tmp_path: Path) -> None:
    for step in (1, 2):
        journal(tmp_path / "watch.csv").write({"record": "reading", "step": step, "other": 3})
    rows = list(csv.DictReader((tmp_path / "watch.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert tuple(rows[0]) == COLUMNS


def test_another_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"ends with '\.txt'"):
        journal("watch.txt")
