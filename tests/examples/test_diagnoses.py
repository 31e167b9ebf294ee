"""Every example through the command line: verdict, cause, place and exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def diagnosed(script: Path, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `floatline diagnose options script`, run in `folder`."""
    target = folder / "diagnosis.json"
    command = [sys.executable, "-m", "floatline", "diagnose", "--json", str(target), *options]
    ended = subprocess.run(
        [*command, str(script)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert target.exists(), ended.stderr
    result: dict[str, Any] = json.loads(target.read_text())
    return ended.returncode, result


def example(name: str) -> Path:
    return ROOT / "examples" / f"{name}.py"


def line_of(script: Path, text: str) -> int:
    """Number of the first line that contains the text."""
    return next(n for n, line in enumerate(script.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    "name",
    [
        "healthy_mlp",
        "healthy_mlp_loss_scale",
        "healthy_lstm",
        "conv_policy_before",
        "digits",
        "custom_loop",
    ],
)
def test_healthy_examples_are_called_healthy(name: str, tmp_path: Path) -> None:
    code, result = diagnosed(example(name), tmp_path)
    assert (code, result["verdict"], result["findings"]) == (0, "healthy", [])
    assert all(trace["agrees"] for trace in result["traces"])


def test_a_policy_that_comes_too_late_is_advice(tmp_path: Path) -> None:
    code, result = diagnosed(example("conv_policy_after"), tmp_path)
    assert (code, result["verdict"]) == (0, "healthy")
    (advice,) = result["findings"]
    assert (advice["rule"], advice["severity"]) == ("FL501", "advice")


def test_the_division_overflows_on_the_way_back(tmp_path: Path) -> None:
    script = example("row_sum_division")
    code, result = diagnosed(script, tmp_path)
    assert (code, result["verdict"]) == (1, "precision")
    first = result["findings"][0]
    assert (first["rule"], first["cause"]) == ("FL110", "backward-only-overflow")
    assert (first["phase"], first["layer"]) == ("backward", "row_normalized_dense")
    assert first["line"] == line_of(script, "return product / tf.reduce_sum")
    assert Path(first["file"]).name == script.name
    assert first["evidence"]["saturated_elements"] > 0
    assert first["evidence"]["shadow_max_abs"] > 65504


def test_gradients_that_vanish_only_in_float16_are_found_without_a_symptom(tmp_path: Path) -> None:
    code, result = diagnosed(example("deep_sigmoid"), tmp_path)
    assert (code, result["verdict"]) == (1, "precision")
    first = result["findings"][0]
    assert (first["rule"], first["cause"]) == ("FL201", "missing-loss-scaling")
    assert first["evidence"]["flushed_share[dense]"] == 1.0
    assert not any(step["skipped"] for step in result["history"]["steps"])


def test_precision_tells_what_a_float32_script_would_meet(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import keras, numpy as np\n"
        "keras.utils.set_random_seed(0)\n"
        "x = np.random.normal(size=(256, 8)).astype('float32')\n"
        "model = keras.Sequential([keras.Input((8,)), keras.layers.Rescaling(1e5),\n"
        "    keras.layers.Dense(8), keras.layers.Rescaling(1e-5), keras.layers.Dense(1)])\n"
        "model.compile('adam', 'mse')\n"
        "model.fit(x, x.sum(1, keepdims=True), epochs=5)\n"
    )
    assert diagnosed(script, tmp_path)[0] == 0
    code, result = diagnosed(script, tmp_path, "--precision", "mixed_float16")
    assert (code, result["verdict"]) == (1, "precision")
    assert result["findings"][0]["layer"] == "rescaling"
    assert result["findings"][0]["line"] == 4


def test_the_step_of_an_unmarked_loop_is_found(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        example("custom_loop")
        .read_text()
        .replace("@floatline.training_step\n", "")
        .replace("import floatline\n", "")
    )
    code, result = diagnosed(script, tmp_path)
    assert (code, result["verdict"]) == (0, "healthy")
    assert result["configuration"]["entry"] == "step function"
    assert result["configuration"]["loss_scaling"]
