"""Healthy patients under watch: no warning, no failure, no file.

A normal run watches some of them; `pytest -m patients_all` watches the others, too.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from floatline.scripts import run_script
from floatline.watch.settings import WatchSettings
from tests.architecture.laws import ROOT
from tests.watch.samples import BACKEND

SCRIPTS = ROOT / "tests" / "patients" / "scripts"
HEALTHY = sorted(path.stem for path in (SCRIPTS / "healthy").glob("*.py"))
QUICK = (
    *("float32_mlp", "scale_backs_off", "batchnorm_cnn", "noisy_regression", "transformer"),
    "sparse_images",  # Regularized: its loss reads variables that the step has not touched.
    "summed_error",  # Gradients beyond float16 at a loss scale below 1; predictions that grow fast.
)
SEVERAL_STEPS = ("sequence_pairs",)
"""Their batches are out of sight, which the watch says once, when it would measure a step."""
pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="the patients are TensorFlow's")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    keras.config.set_dtype_policy("float32")
    gc.collect()


def run(script: Path, folder: Path, every: int = 5) -> tuple[int, list[str]]:
    """Exit status and what the watch said, with a sample every few steps."""
    told: list[str] = []
    settings = WatchSettings(str(folder / "kept"), every=every, diagnose=False)
    ended = run_script(str(script), (), None, lambda *_: None, settings, told.append)
    return ended.status, told


def check(name: str, folder: Path) -> None:
    status, told = run(SCRIPTS / "healthy" / f"{name}.py", folder)
    assert (status, len(told)) == (0, int(name in SEVERAL_STEPS)), told
    assert all("with steps_per_execution=4 Keras takes the batches" in line for line in told)
    assert not (folder / "kept").exists()


@pytest.mark.parametrize("name", QUICK)
def test_a_healthy_patient_is_left_in_peace(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


# What the scripts' own trainings warn of is theirs.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.patients_all
@pytest.mark.parametrize("name", sorted({*HEALTHY} - {*QUICK}))
def test_every_other_healthy_patient_is_left_in_peace(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


def test_a_drift_is_told_before_it_becomes_an_overflow(tmp_path: Path) -> None:
    """Activations double every 40 steps, and float16 ends at 2**16."""
    script = tmp_path / "train.py"
    script.write_text(
        "import keras, numpy as np\n"
        "keras.utils.set_random_seed(0)\n"
        "layer = keras.layers.Dense(1, use_bias=False, dtype='mixed_float16', name='grows')\n"
        "model = keras.Sequential([keras.Input((4,)), layer])\n"
        "rate = keras.optimizers.schedules.ExponentialDecay(0.001, 40, 2.0)\n"
        "model.compile(keras.optimizers.SGD(rate), lambda y, p: -keras.ops.mean(p),\n"
        "              auto_scale_loss=False)\n"
        "x = np.ones((6400, 4), 'float32')\n"
        "model.fit(x, x[:, :1], batch_size=10, shuffle=False, verbose=0)\n"
    )
    _, told = run(script, tmp_path, every=10)
    assert told
    assert "activation of grows (float16)" in told[0]
    assert "reaches 6.55e+04 in about" in told[0]
