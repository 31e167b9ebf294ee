"""The example of docs/watch.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import floatline
from floatline.watch.records import Kind
from floatline.watch.summary import LOGS
from tests.architecture.laws import ROOT
from tests.watch.samples import data, model

PAGE = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    x, y = data()
    names: dict[str, Any] = {"floatline": floatline, "model": model(), "x": x, "y": y}
    exec(block, names)
    ratio, silent = capsys.readouterr().out.splitlines()[-2:]
    assert 0 < float(ratio) < 1
    assert silent == "() ()"
    assert [path.name for path in tmp_path.iterdir()] == ["watch.jsonl"]


def test_the_page_lists_every_number_and_every_failure() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \| ", PAGE.split("## Early")[0], re.M)) == LOGS
    listed = re.findall(r"^\| `([\w-]+)` \| ", PAGE.split("## When")[1].split("## What")[0], re.M)
    assert tuple(listed) == Kind.__args__  # type: ignore[attr-defined]  # (mypy knows it as a form)
