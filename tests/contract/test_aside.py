"""What trains in float32 before the training in half precision runs as it is, on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from floatline.capture.capture import Budget, Capture
from floatline.capture.script import capture_script
from floatline.pipeline import load_backend
from floatline.progress import silent

SCRIPT = """
import keras
import numpy as np

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")

encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="tanh")])
decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
autoencoder = keras.Sequential([keras.Input((4,)), encoder, decoder])
autoencoder.compile(keras.optimizers.SGD(0.1), "mse")
{first}

head = keras.layers.Dense(1, dtype="{policy}" or "mixed_float16", name="head")
model = keras.Sequential([keras.Input((3,)), head])
model.compile("sgd", "mse")
codes = encoder.predict(x, verbose=0)
told.append(codes)
{second}
"""
FIT = "told.extend(autoencoder.fit(x, x, epochs=3, batch_size=8, verbose=0).history['loss'])"
ON_BATCH = "for i in range(12):\n    told.append(float(autoencoder.train_on_batch(x, x)))"


def told_by(script: Path) -> list[Any]:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    told: list[Any] = space["told"]
    return told


@pytest.mark.parametrize("first", [FIT, ON_BATCH])
@pytest.mark.parametrize(("policy", "watched"), [("mixed_float16", "head"), ("float32", "first")])
def test_it_runs_as_it_is(first: str, policy: str, watched: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    fit = "model.fit(codes, x[:, :1], epochs=1, batch_size=16, verbose=0)"
    script.write_text("told = []\n" + SCRIPT.format(first=first, policy=policy, second=fit))
    plain = told_by(script)
    seen: list[Any] = []

    def examine(capture: Capture) -> Capture:
        import __main__

        seen.extend(vars(__main__)["told"])
        return capture

    capture = capture_script(
        str(script),
        [],
        load_backend=load_backend,
        precision=None,
        budget=Budget(steps=3),
        progress=silent,
        examine=examine,
    )
    for ours, theirs in zip(seen, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    paths = [layer.path for layer in capture.configuration.layers]
    assert ("head" in paths) == (watched == "head")
    assert len(capture.history.steps) == {"head": 2, "first": 3}[watched]
    kept = capture.moments[0]
    assert capture.step.trace(kept.state, kept.batch).sites
