"""What `--repair` writes is whole, and the commands that it names use it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest

from floatline.cli import repairs
from floatline.precision.plan import Plan
from floatline.repairs import Repair, SourceChange
from floatline.trials.editing import patch
from tests.cli.conftest import Stub
from tests.report import samples


def cured(script: Path, folder: Path) -> Repair:
    """A repair by one line of a script, found in a folder."""
    script.parent.mkdir(exist_ok=True)
    script.write_text("x = 1\n", encoding="utf-8")
    change = SourceChange(str(script), 1, "x = 1", "x = 2", "Why.")
    text = patch({str(script): "x = 1\n"}, {str(script): "x = 2\n"}, folder)
    return Repair("fixed", "It is cured.", changes=(change,), patch=text)


@pytest.mark.parametrize("name", ["train.py", "code/train.py", "../my code/train.py"])
def test_the_command_applies_the_patch(tmp_path: Path, name: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    script = here / name
    repair, target = cured(script, here), here / "my plan.json"
    repairs.write(repair, target)
    assert not target.exists()
    (command,) = repairs.uses(repair, target, str(script), here)
    subprocess.run(command, shell=True, cwd=here, check=True, timeout=60)
    assert script.read_text(encoding="utf-8") == "x = 2\n"


def test_the_plan_is_used_by_its_name(tmp_path: Path) -> None:
    repair = Repair("fixed", "It is cured.", Plan().with_optimizer("epsilon", 1e-3, reason="0."))
    repairs.write(repair, tmp_path / "p.json")
    assert Plan.load(tmp_path / "p.json") == repair.plan
    assert [*repairs.uses(repair, tmp_path / "p.json", "a b.py", tmp_path)] == [
        "floatline run --plan p.json 'a b.py'"
    ]


def test_a_diagnosis_ends_with_what_to_do(stub: Stub, run: Any, tmp_path: Path) -> None:
    repair = cured(tmp_path / "train.py", tmp_path)
    stub.answer = dataclasses.replace(samples.precision(), repair=repair)
    said = run("diagnose", "--repair", "plan.json", "train.py").output
    assert said.rstrip().endswith("git apply plan.json.patch")
    assert (tmp_path / "plan.json.patch").read_text(encoding="utf-8") == repair.patch
    assert "git apply" not in run("diagnose", "--quiet", "--repair", "p.json", "train.py").output
