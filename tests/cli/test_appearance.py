"""`--quiet`, `--no-color`, output on a pipe, and the completion of commands by the shell."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from floatline.cli.main import cli
from floatline.report import json as report_json
from tests.architecture import laws
from tests.cli.test_run import TRAIN, write
from tests.report import samples

Run = Callable[..., Result]
ESCAPE = "\x1b["
COMMANDS = ("diagnose", "inspect", "report", "run")


def environment(**more: str) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    return {**plain, "PYTHONPATH": str(laws.SOURCE), "TERM": "xterm-256color", **more}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.json"
    path.write_text(report_json.dumps(samples.precision()), encoding="utf-8")
    return path


def on_a_terminal(*words: str, **more: str) -> str:
    """What a command writes when its output is a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "floatline", *words], stdout=slave, env=environment(**more)
    ) as process:
        os.close(slave)
        written = b""
        while chunk := _read(master):
            written += chunk
        process.wait()
    os.close(master)
    return written.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # Linux says so when the other end has closed
        return b""


def on_a_pipe(*words: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "floatline", *words],
        env=environment(**more),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--quiet", "--no-color"])
def test_every_command_that_says_much_knows_it(name: str, option: str) -> None:
    assert option in {word for one in cli.commands[name].params for word in one.opts}


def test_a_pipe_gets_no_colour_and_a_terminal_does(kept: Path) -> None:
    piped = on_a_pipe("report", str(kept))
    assert piped.startswith("The precision is at fault.\n")
    assert ESCAPE not in piped
    assert f"{ESCAPE}1;31m" in on_a_terminal("report", str(kept))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_no_fault_of_floatlines() -> None:
    command = [sys.executable, "-m", "floatline", "rules"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment(), text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "floatline: No space left on device.\n")


@pytest.mark.parametrize(("words", "more"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_no_color_leaves_no_colour_on_a_terminal(
    kept: Path, words: list[str], more: dict[str, str]
) -> None:
    shown = on_a_terminal("report", *words, str(kept), **more)
    assert "The precision is at fault." in shown
    assert f"{ESCAPE}1;31m" not in shown


def test_a_quiet_report_is_the_verdict(run: Run, kept: Path) -> None:
    whole, quiet = run("report", str(kept)), run("report", "--quiet", str(kept))
    assert quiet.stdout.startswith("The precision is at fault.\n")
    assert whole.stdout.startswith(quiet.stdout)
    assert len(quiet.stdout.splitlines()) < 5


def test_a_quiet_inspection_is_its_headline(run: Run) -> None:
    script = write(TRAIN)
    whole, quiet = run("inspect", script), run("inspect", "--quiet", script)
    assert quiet.stdout.startswith("Model 'small'\n")
    assert whole.stdout.startswith(quiet.stdout)
    assert "Layers" not in quiet.stdout


def test_run_colours_nothing(run: Run) -> None:
    result = run("run", "--no-color", "--precision", "mixed_float16", write(TRAIN))
    assert result.exit_code == 0
    assert ESCAPE not in result.stdout + result.stderr
    assert "model 'small'" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_for_completions(shell: str) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    script = on_a_pipe(_FLOATLINE_COMPLETE=f"{shell}_source")
    assert f"_FLOATLINE_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        done = subprocess.run(
            [shell, "-n"], check=False, input=script, text=True, capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("floatline dia", {"plain,diagnose"}),
        ("floatline report --h", {"plain,--html", "plain,--help"}),
    ],
)
def test_what_is_begun_is_completed(words: str, expected: set[str]) -> None:
    count = str(len(words.split()) - 1)
    answer = on_a_pipe(_FLOATLINE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert set(answer.splitlines()) == expected
