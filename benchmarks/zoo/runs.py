"""Runs one tool on one script in a process of its own, once: results are kept and found again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.zoo.tools import Tool
from tests.patients.truth import Truth

LAST_CHARACTERS = 2000
"""Of what a process wrote to its standard error, so much is kept."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a tool said about a script; `answer` is empty when it said nothing in time."""

    script: str
    tool: str
    answer: dict[str, Any]
    status: int | None
    seconds: float
    errors: str
    revision: str


def kept(folder: Path, tool: Tool, truth: Truth) -> Run | None:
    """The result of an earlier run, if there is one."""
    file = _file(folder, tool, truth)
    return Run(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def run(folder: Path, tool: Tool, truth: Truth, backend: str) -> Run:
    """Runs the tool, and keeps the result in the folder."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "answer.json"
        begun = time.monotonic()
        status, errors = _watched(tool.command(truth.path, result), tool.seconds, backend, scratch)
        seconds = time.monotonic() - begun
        answer = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    answer.pop("traces", None)  # Megabytes of statistics that no score reads.
    made = Run(truth.script, tool.name, answer, status, seconds, errors, revision())
    _keep(_file(folder, tool, truth), made)
    return made


def revision() -> str:
    """The commit that is measured, with a mark when files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _watched(
    command: list[str], seconds: float, backend: str, scratch: str
) -> tuple[int | None, str]:
    """Exit status and last words; None when the time ran out. Its children end with it."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = Path(__file__).parents[2]
    paths = [str(root / "src"), str(root), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    errors = Path(scratch) / "stderr"
    with errors.open("wb") as stream:
        child = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=environment,
            cwd=scratch,
            start_new_session=True,
        )
        try:
            status: int | None = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    return status, errors.read_text(encoding="utf-8", errors="replace")[-LAST_CHARACTERS:]


def _file(folder: Path, tool: Tool, truth: Truth) -> Path:
    return folder / tool.folder / f"{truth.script.replace('/', '.')}.json"


def _keep(file: Path, made: Run) -> None:
    """Written beside and moved into place, so that an interruption leaves no half of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".part")
    values = {name: getattr(made, name) for name in Run.__slots__}
    beside.write_text(json.dumps(values), encoding="utf-8")
    beside.replace(file)
