"""The examples behave as they say they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.capture.capture import Budget, Capture
from floatline.capture.script import capture_script
from floatline.progress import silent

EXAMPLES = Path(__file__).parents[2] / "examples"
HEALTHY = (
    "healthy_mlp.py",
    "healthy_mlp_loss_scale.py",
    "healthy_lstm.py",
    "conv_policy_before.py",
    "conv_policy_after.py",
    "digits.py",
    "custom_loop.py",
)


def captured(name: str, precision: str | None = None, steps: int = 40) -> Capture:
    return capture_script(
        str(EXAMPLES / name),
        [],
        load_backend=TensorFlowBackend,
        precision=precision,
        budget=Budget(steps=steps, seconds=1e9),
        progress=silent,
        examine=lambda capture: capture,
    )


@pytest.mark.parametrize("name", HEALTHY)
def test_the_healthy_examples_train_without_a_symptom(name: str) -> None:
    steps = captured(name).history.steps
    assert all(step.finite_gradients and not step.skipped for step in steps)
    assert steps[-1].loss is not None
    assert np.isfinite(steps[-1].loss)


def test_the_division_overflows_again_and_again() -> None:
    steps = captured("row_sum_division.py").history.steps
    assert len(steps) == 40
    assert sum(step.skipped for step in steps) >= 8
    assert steps[0].loss_scale == 32768
    assert steps[-1].loss_scale is not None
    assert steps[-1].loss_scale <= 128


def test_a_policy_that_comes_too_late_changes_nothing() -> None:
    configuration = captured("conv_policy_after.py", steps=1).configuration
    assert configuration.global_policy == "mixed_float16"
    assert {layer.compute_dtype for layer in configuration.layers} == {"float32"}
    assert not configuration.loss_scaling


def first_kernel(name: str, dtype: str) -> Any:
    """How far the first layer's kernel moves in one step of the deep network."""
    source = (EXAMPLES / name).read_text().replace('"mixed_float16"', repr(dtype))
    made: dict[str, Any] = {}
    exec(source.split("model.fit", maxsplit=1)[0], made)
    model, x, y = made["model"], made["x"], made["y"]
    kernel = model.layers[0].kernel
    before = np.array(kernel.value.numpy(), "float64")
    model.optimizer.learning_rate = 1e6
    model.train_on_batch(x[:32], y[:32])
    return np.abs(kernel.value.numpy() - before).max()


def test_the_deep_networks_gradients_vanish_only_in_float16() -> None:
    assert not captured("deep_sigmoid.py", steps=1).configuration.loss_scaling
    assert first_kernel("deep_sigmoid.py", "mixed_float16") == 0
    assert first_kernel("deep_sigmoid.py", "float32") > 0


def test_the_digits_reach_their_usual_accuracy() -> None:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "digits.py")], capture_output=True, text=True, check=True
    )
    assert float(ended.stdout.split()[-1]) > 0.95
