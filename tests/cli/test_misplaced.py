"""Options after the script are the script's, which may not be what was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.conftest import Stub

Run = Callable[..., Result]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("import argparse, json\nparser.add_argument('--steps')\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("word", ["--json", "--json=out.json"])
def test_an_option_that_the_script_does_not_know_is_warned_of(
    stub: Stub, run: Run, script: Path, word: str
) -> None:
    result = run("diagnose", "train.py", word, "out.json")
    assert result.stderr.startswith("floatline: --json stands after train.py and is handed to")
    assert "diagnose --json ... train.py" in result.stderr
    assert stub.arguments == (word, "out.json")
    assert result.exit_code == 1  # The diagnosis goes on: the script may know better.


@pytest.mark.parametrize(
    "words",
    [
        ("--steps", "9"),  # The script has one of its own.
        ("--lr", "1"),  # Floatline has none.
        ("--", "--json"),
        ("json",),
        ("--help",),
    ],
)
def test_what_is_the_scripts_own_is_not(
    stub: Stub, run: Run, script: Path, words: tuple[str, ...]
) -> None:
    assert run("diagnose", "--quiet", "train.py", *words).stderr == ""
    assert stub.arguments == words


def test_of_a_script_that_cannot_be_read_nothing_is_known(stub: Stub, run: Run) -> None:
    assert run("diagnose", "--quiet", "missing.py", "--json", "x").stderr == ""


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_every_command_that_runs_a_script_warns(run: Run, script: Path, command: str) -> None:
    script.write_text("raise SystemExit(3)", encoding="utf-8")
    result = run(command, "train.py", "--precision", "mixed_float16")
    assert f"{command} --precision ... train.py" in result.stderr
