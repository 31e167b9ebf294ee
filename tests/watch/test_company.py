"""Several steps, devices or processes at once: watched as far as that goes, and never disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.laws import ROOT
from tests.scaling.samples import only_jax, only_tensorflow, only_torch

SPOILED = 5
REFUSED = (
    "The watch could not measure a step, and does not try again: No step can be taken a second"
)


def run(script: str, argument: str, **environment: str) -> Any:
    """What a script of `company/` prints."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", f"tests/watch/company/{script}", argument],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@only_tensorflow
@pytest.mark.parametrize(
    ("mode", "why"), [("steps", "steps_per_execution=3"), ("mirrored", "MirroredStrategy")]
)
def test_batches_out_of_sight_are_told_of_in_a_line(mode: str, why: str) -> None:
    found = run("devices.py", mode)
    assert found["same"]
    assert not found["sampled"]
    (line,) = found["healthy"]
    assert line.startswith(REFUSED)
    assert why in line
    told = next(line for line in found["failing"] if "Training has failed" in line)
    assert f"is not looked for: {'with ' if mode == 'steps' else ''}{why}" in told
    assert found["kept"] == []


@only_jax
@pytest.mark.parametrize("mode", ["steps", "data"])
def test_jax_is_watched_as_a_whole(mode: str) -> None:
    found = run("devices.py", mode, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert found["same"]
    assert found["sampled"]
    assert found["healthy"] == []
    assert len(found["failing"]) == 1
    assert found["kept"] == [SPOILED]


@only_torch
def test_of_two_processes_the_first_speaks_and_neither_stops_alone(tmp_path: Path) -> None:
    (healthy, failing), (other_healthy, other_failing) = run("processes.py", str(tmp_path))
    (line,) = healthy["told"]
    assert line.startswith(REFUSED)
    assert "2 processes train together" in line
    assert "The training goes on" in failing["told"][-1]
    assert failing["failed"]
    assert (failing["kept"], failing["steps"]) == (1, 10)
    assert (other_healthy["told"], other_failing["told"], other_failing["kept"]) == ([], [], 0)
    assert other_failing["steps"] == 10
    assert (tmp_path / "0.jsonl").exists()
    assert not (tmp_path / "1.jsonl").exists()
