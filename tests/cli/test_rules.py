"""`floatline explain`, `floatline rules`, `--version`, and a pipe that closes early."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from floatline.cli.main import cli
from floatline.findings.page import HEADINGS, page
from floatline.findings.table import RULES
from tests.architecture import laws

Run = Callable[..., Result]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_explained_under_every_heading_in_80_columns(run: Run, rule: object) -> None:
    leaf = page(rule)  # type: ignore[arg-type]
    result = run("explain", leaf.rule)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{leaf.rule} {leaf.cause}"
    assert [line for line in lines if line in HEADINGS] == list(HEADINGS)
    assert max(len(line) for line in lines) <= 80
    assert "".join(leaf.title.split()) in "".join(result.stdout.split())


def test_a_rule_is_found_by_its_cause_and_in_any_case(run: Run) -> None:
    rule = RULES[0]
    by_id = run("explain", rule.id).stdout
    assert by_id
    assert run("explain", rule.id.lower()).stdout == by_id
    assert run("explain", rule.cause).stdout == by_id


def test_a_rule_that_does_not_exist_is_told_with_what_does(run: Run) -> None:
    result = run("explain", "FL999")
    assert result.exit_code == 2
    assert result.stderr.startswith("floatline: There is no rule 'FL999'")
    assert all(rule.id in result.stderr for rule in RULES)
    assert result.stdout == ""


def test_every_rule_is_listed_once_in_80_columns(run: Run) -> None:
    lines = run("rules").stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert [line for line in lines if line.startswith("FL")] == [
        f"{rule.id} {rule.cause}" for rule in RULES
    ]


def test_the_version_is_told(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("floatline, version ")


def test_help_names_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in cli.commands:
        assert f"\n  {command} " in result.stdout


def test_an_unknown_command_is_told(run: Run) -> None:
    result = run("diagnos", "train.py")
    assert result.exit_code == 2
    assert "No such command 'diagnos'" in result.stderr


def test_a_reader_that_stops_reading_is_no_fault_of_ours() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "floatline", "rules"],
        env={**os.environ, "PYTHONPATH": str(laws.SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "internal error" not in process.stderr.read()
    process.stderr.close()
    process.wait()
