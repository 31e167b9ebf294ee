"""What a saved model holds of a plan, what it cannot, and how that comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline import Plan
from floatline.layers import walk
from tests.architecture import laws
from tests.precision.models import compute_dtypes, data, functional, subclassed

HALF = Plan.of("mixed_float16")


def reloaded(model: Any, folder: Path) -> Any:
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


@pytest.mark.parametrize(
    ("conditions", "lost"),
    [
        ({"path": "attention/*", "layer_class": "Softmax"}, "attention/softmax"),
        ({"path": "both/backward_lstm"}, "both/backward_lstm"),
    ],
)
def test_what_keras_cannot_save_is_said(conditions: dict[str, Any], lost: str) -> None:
    (note,) = HALF.with_rule("float32", reason="r", **conditions).apply(functional()).changes.notes
    assert lost in note
    assert "floatline.enable(plan)" in note


@pytest.mark.parametrize("conditions", [{"path": "head"}, {"path": "both/*/lstm_cell"}])
def test_what_keras_can_save_is_not_complained_of(conditions: dict[str, Any]) -> None:
    application = HALF.with_rule("float32", reason="r", **conditions).apply(functional())
    assert application.changes.notes == ()


def test_layers_that_a_class_of_the_users_makes_are_said(tmp_path: Path) -> None:
    """Keras makes them anew, under the policy that is global when the model is loaded."""
    model = subclassed()
    outer = keras.Sequential([keras.Input((6, 4)), model], name="outer")
    (note,) = HALF.apply(outer).changes.notes
    assert "layers that subclassed makes" in note
    assert "floatline.enable(plan)" in note
    assert "float16" not in compute_dtypes(reloaded(outer, tmp_path).get_layer("subclassed"))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert HALF.apply(subclassed()).changes.notes == ()
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_end_of_paths_survives_another_model_around(tmp_path: Path) -> None:
    inner = functional()
    HALF.with_rule("float32", path="attention/key", reason="r").apply(inner)
    outer = keras.Sequential([keras.Input((6, 4)), inner], name="outer")
    found = dict(walk(reloaded(outer, tmp_path)))
    assert found["functional/attention/key"].compute_dtype == "float32"
    assert found["functional/attention/value"].compute_dtype == "float16"


def test_own_layers_take_the_plan_again_when_it_is_enabled(tmp_path: Path) -> None:
    model = subclassed()
    model.compile("sgd", "mse")
    HALF.apply(model)
    assert "float32" in compute_dtypes(reloaded(model, tmp_path))
    with floatline.enable(HALF):
        again = reloaded(model, tmp_path)
    assert compute_dtypes(again) == {"float16"}
    x = data()[0]
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_the_file_needs_no_plan_in_another_process(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    model.compile("sgd", "mse")
    HALF.apply(model)
    model.save(tmp_path / "model.keras")
    text = (
        "import floatline, keras; floatline.LossScaleOptimizer; "
        f"model = keras.models.load_model({str(tmp_path / 'model.keras')!r}); "
        "print(model.layers[0].compute_dtype, type(model.optimizer).__module__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(laws.SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["float16", "floatline.scaling.optimizer"]
