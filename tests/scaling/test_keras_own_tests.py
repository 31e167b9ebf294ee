"""The tests that Keras ships for its loss-scale optimizer, with Floatline's class in its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.architecture.laws import ROOT
from tests.scaling.samples import BACKEND

SUITES = [
    "optimizers.loss_scale_optimizer_test",
    "optimizers.multi_optimizer_test:loss_scale",
    "optimizers.optimizer_sparse_test:loss_scale",  # Keras knows no sparse gradients on PyTorch.
    "callbacks.swap_ema_weights_test:loss_scale",
    "trainers.trainer_test:loss_scaling",
]
COUNTS = (29, 1, 2, 1, 2)
"""How many tests Keras 3.15.1 has there, so that none can get lost unnoticed."""


def test_keras_own_tests_pass() -> None:
    kept = [
        index for index, suite in enumerate(SUITES) if "sparse" not in suite or BACKEND != "torch"
    ]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.scaling.keras_suite"]
        + [SUITES[index] for index in kept],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    found = re.search(r"Ran (\d+) test", run.stderr)
    assert found is not None
    assert int(found[1]) == sum(COUNTS[index] for index in kept)
