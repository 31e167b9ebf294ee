"""The kernel that measures on a GPU finds what `tracing.statistics` finds, value by value."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from floatline.backends.torch.pools import Pools
from floatline.backends.torch.recorder import Recorder, measures_of
from floatline.records import Place, Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Pack
from tests.backends.torch.counted import Case, cases

SUMS = ("error", "local_error")
NEAR = 1e-5
"""Sums are added up in another order."""

ROOT = Path(__file__).parents[3]
CASES = cases()
TRITON = Path(sys.prefix) / "triton"
"""Beside the packages of the environment: where PyTorch finds it, TensorFlow cannot be loaded."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Statistics]:
    """What the kernel finds: in a process of its own, because Triton decides once how it runs."""
    if find_spec("triton") is None and not TRITON.exists() and not os.environ.get("CI"):
        pytest.skip(f"no Triton here: pip install --target {TRITON} triton")
    file = tmp_path_factory.mktemp("counted") / "packs.npz"
    command = [sys.executable, "-m", "tests.backends.torch.counted", str(file)]
    path = os.pathsep.join(
        [str(ROOT), str(ROOT / "src"), str(TRITON), os.environ.get("PYTHONPATH", "")]
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with np.load(file) as packs:
        return dict(zip(CASES, decode(Pack(**packs)), strict=True))


def expected(case: Case) -> Statistics:
    pools = Pools(torch.device("cpu"))
    pools.put(0, *case)
    return decode(pools.measured()[1])[0]


def differing(found: Statistics, truth: Statistics) -> list[str]:
    names = [field.name for field in dataclasses.fields(Statistics)]
    pairs = [(name, getattr(found, name), getattr(truth, name)) for name in names]
    return [
        name
        for name, mine, other in pairs
        if mine != (pytest.approx(other, rel=NEAR, abs=0) if name in SUMS else other)
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_finds_what_the_statistics_find(
    name: str, counted: dict[str, Statistics]
) -> None:
    assert differing(counted[name], expected(CASES[name])) == []


def test_the_comparison_can_fail(counted: dict[str, Statistics]) -> None:
    assert "exponents" in differing(counted["float16, 7"], expected(CASES["float16, 1025"]))


def test_values_without_elements_are_never_measured() -> None:
    class Measured:
        def put(self, site: int, lanes: object, dtype: str) -> None:
            raise AssertionError

    recorder = Recorder(Ledger(), lambda device: Measured())  # type: ignore[arg-type, return-value]
    place = Place(None, "add", "add", "forward")
    nothing = torch.empty(0)
    recorder.measure(Description(place, "value", "float32", (0,)), nothing, nothing, nothing)
    assert recorder.statistics() == [Statistics(0)]


def test_the_host_has_no_kernel_of_its_own() -> None:
    assert isinstance(measures_of(torch.device("cpu")), Pools)
