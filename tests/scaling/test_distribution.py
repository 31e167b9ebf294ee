"""A bad value on any device is noticed on all of them; each case is a process of its own."""

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


def run(script: str, *arguments: str, **environment: str) -> Any:
    """What a script of `distributed/` prints."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", f"tests/scaling/distributed/{script}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@only_tensorflow
def test_a_bad_value_on_either_replica_skips_the_step_on_both() -> None:
    good, first, second = run("mirrored.py", "floatline")
    assert (good["applied"], good["skipped"], good["weights"]) == (1, 0, True)
    assert first == second
    assert (first["applied"], first["skipped"], first["weights"]) == (0, 1, True)


@only_tensorflow
def test_keras_own_class_asks_the_first_replica_alone() -> None:
    _, first, second = run("mirrored.py", "keras")
    assert (first["applied"], first["trainable"]) == (0, True)
    assert (second["applied"], second["trainable"]) == (1, False)


@only_tensorflow
def test_a_bad_value_in_either_worker_skips_the_step_in_both() -> None:
    ranks = run("workers.py")
    assert ranks[0] == ranks[1]
    good, first, second = ranks[0]
    assert (good["applied"], good["scale"], good["weights"]) == (1, 8.0, True)
    assert first == second
    assert (first["applied"], first["scale"], first["weights"]) == (0, 4.0, True)


@only_jax
@pytest.mark.parametrize("parallel", ["data", "model"])
def test_a_bad_value_on_either_device_skips_the_step_of_all(parallel: str) -> None:
    flag = "--xla_force_host_platform_device_count=2"
    good, first, second = run("sharded.py", parallel, XLA_FLAGS=flag)
    assert good["devices"] == 2
    assert (good["applied"], good["skipped"], good["weights"]) == (1, 0, True)
    assert first == second
    assert (first["applied"], first["skipped"], first["weights"]) == (0, 1, True)


@only_torch
def test_a_bad_value_in_either_process_skips_the_step_in_both(tmp_path: Path) -> None:
    ranks = run("parallel.py", str(tmp_path / "rendezvous"))
    assert ranks[0] == ranks[1]
    good, first, second = ranks[0]
    assert (good["applied"], good["scale"]) == (1, 8.0)
    assert first == second
    assert (first["applied"], first["scale"]) == (0, 4.0)
    assert first["weights"] != good["weights"]
