"""The quick start: exactly two commands, and `.ci/run` runs the second as it stands."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture import laws

README = (laws.ROOT / "README.md").read_text(encoding="utf-8")


def commands(markdown: str) -> list[str]:
    """The blocks of shell commands under the heading *Quick start*."""
    section = re.search(r"^## Quick start\n(.*?)(?=^## |\Z)", markdown, re.M | re.S)
    assert section is not None
    return re.findall(r"^```sh\n(.*?)^```$", section[1], re.M | re.S)


def test_the_quick_start_has_two_blocks_and_the_readme_no_other() -> None:
    assert len(commands(README)) == 2
    assert re.findall(r"^```(\w+)", README, re.M).count("sh") == 2


@pytest.mark.parametrize("block", [0, 1])
def test_each_block_is_one_command_that_sets_itself_up(block: int) -> None:
    text = commands(README)[block]
    logical = text.replace("\\\n", " ").strip()
    assert "\n" not in logical
    assert logical.startswith("python3 -m venv .venv && ")
    assert ".venv/bin/pip install" in logical


def test_the_first_diagnoses_an_example_that_exists() -> None:
    (example,) = re.findall(r"floatline diagnose (\S+)", commands(README)[0])
    assert (laws.ROOT / example).is_file()


def test_the_second_runs_every_check() -> None:
    for tool in ("ruff check", "ruff format --check", "mypy", "pytest"):
        assert f".venv/bin/{tool}" in commands(README)[1]


def test_the_diagnosis_shown_names_the_line_of_the_division() -> None:
    (shown,) = re.findall(
        r"<!-- diagnosis: begin -->\n```text\n(.*?)```\n<!-- diagnosis: end -->", README, re.S
    )
    example = laws.ROOT / "examples" / "row_sum_division.py"
    lines = example.read_text(encoding="utf-8").splitlines()
    (division,) = [number for number, line in enumerate(lines, 1) if "tf.reduce_sum" in line]
    assert f"examples/row_sum_division.py:{division}\n" in shown
    assert lines[division - 1].strip() in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def run_ci(folder: Path, readme: str) -> subprocess.CompletedProcess[str]:
    """Runs `.ci/run` on a README of its own."""
    (folder / ".ci").mkdir()
    shutil.copy(laws.ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run(
        [folder / ".ci" / "run"], cwd="/", capture_output=True, text=True, check=False
    )


def test_ci_runs_the_second_block_as_it_stands(tmp_path: Path) -> None:
    readme = "```text\nno\n```\n```sh\necho first\n```\nand\n```sh\necho sec\\\nond && pwd\n```\n"
    done = run_ci(tmp_path, readme + "```sh\necho third\n```\n")
    assert done.returncode == 0
    assert done.stdout == f"echo sec\\\nond && pwd\nsecond\n{os.path.realpath(tmp_path)}\n"


def test_ci_finds_the_same_block_as_this_test() -> None:
    program = re.search(r"awk '(.*?)' README.md", (laws.ROOT / ".ci" / "run").read_text())
    assert program is not None
    done = subprocess.run(
        ["awk", program[1], laws.ROOT / "README.md"], capture_output=True, text=True, check=True
    )
    assert done.stdout == commands(README)[1]


def test_ci_fails_when_a_check_fails(tmp_path: Path) -> None:
    assert run_ci(tmp_path, "```sh\ntrue\n```\n```sh\nfalse && echo fine\n```\n").returncode == 1


def test_ci_fails_when_there_is_nothing_to_run(tmp_path: Path) -> None:
    done = run_ci(tmp_path, "```sh\necho first\n```\n")
    assert done.returncode == 2
    assert "no second block" in done.stderr
