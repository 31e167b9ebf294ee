"""The loops of docs/loss-scaling.md run as they stand there, and train as float32 does."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

import floatline
from floatline.scaling.scaler import LossScaler
from tests.architecture.laws import ROOT
from tests.scaling.samples import BACKEND, array, data, small_model, tensor


def documented_loop() -> Any:
    """The `train` of the page for the backend that runs."""
    page = (ROOT / "docs" / "loss-scaling.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"```python {BACKEND}\n(.*?)```", page, re.S)
    namespace: dict[str, Any] = {}
    names = {"tensorflow": "import tensorflow as tf", "jax": "import jax", "torch": "import torch"}
    exec(names[BACKEND], namespace)
    exec(block, namespace)
    return namespace["train"]


def batches(bad: int | None = None) -> list[Any]:
    x, y = data(32)
    if bad is not None:
        x[8 * bad] = np.nan
    return [(tensor(x[i : i + 8]), tensor(y[i : i + 8])) for i in range(0, 32, 8)]


def weights_after(scale: Any, steps: list[Any]) -> tuple[list[Any], Any]:
    model = small_model("float32")
    report = documented_loop()(model, keras.optimizers.Adam(1e-2), LossScaler(scale), steps)
    return [array(v) for v in model.trainable_variables], report


def test_a_scaled_loop_trains_exactly_as_float32_does() -> None:
    expected, _ = weights_after(floatline.NoScale(), batches())
    found, report = weights_after(floatline.FixedScale(2.0**10), batches())
    assert (report.skipped, report.scale) == (0, 2.0**10)
    for have, want in zip(found, expected, strict=True):
        # The products in between are scaled by a power of two; only subnormals could differ.
        np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-9)


def test_a_bad_batch_is_skipped_and_counted() -> None:
    steps = batches()
    expected, _ = weights_after(floatline.NoScale(), [steps[0], *steps[2:]])
    found, report = weights_after(floatline.FixedScale(1.0), batches(bad=1))
    assert report.skipped == 1
    assert report.culprit is not None
    # BatchNormalization normalizes by the batch while training, so nothing else remembers it.
    for have, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-9)
