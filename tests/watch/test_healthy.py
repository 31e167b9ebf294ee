"""Healthy patients under watch: no warning, no failure, no file."""

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
HEALTHY = ("float32_mlp", "scale_backs_off", "batchnorm_cnn", "noisy_regression", "transformer")
pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="the patients are TensorFlow's")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    keras.config.set_dtype_policy("float32")
    gc.collect()


def run(script: Path, folder: Path) -> tuple[int, list[str]]:
    """Exit status and what the watch said, with a sample every 10 steps."""
    told: list[str] = []
    settings = WatchSettings(str(folder / "kept"), every=10, diagnose=False)
    ended = run_script(str(script), (), None, lambda *_: None, settings, told.append)
    return ended.status, told


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_patient_is_left_in_peace(name: str, tmp_path: Path) -> None:
    assert run(SCRIPTS / "healthy" / f"{name}.py", tmp_path) == (0, [])
    assert not (tmp_path / "kept").exists()


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
        "x = np.ones((6000, 4), 'float32')\n"
        "model.fit(x, x[:, :1], batch_size=10, shuffle=False, verbose=0)\n"
    )
    _, told = run(script, tmp_path)
    assert told
    assert "activation of grows (float16)" in told[0]
    assert "reaches 6.55e+04 in about" in told[0]
