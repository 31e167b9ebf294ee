"""A training that fails: stopped or not, kept with the step that fails, replayed to one verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from floatline.errors import InputError
from floatline.records import Diagnosis
from floatline.watch.callback import TrainingFailedError, Watch
from floatline.watch.diagnosing import diagnose_failed_script, diagnose_failure
from floatline.watch.replaying import load
from tests.watch.samples import BATCH, data, everything, fit, model, same

SPOILED = 13


def watched(folder: Path, **arguments: Any) -> tuple[Watch, list[str]]:
    told: list[str] = []
    watch = Watch(folder, **{"read_every": 5, "every": 0, "diagnose": False, **arguments})
    watch.tell = told.append
    return watch, told


def test_it_stops_and_keeps_the_step_that_fails_and_the_state_before(tmp_path: Path) -> None:
    x, y = data(20, spoiled=SPOILED)
    healthy = model()
    fit(healthy, x[: SPOILED * BATCH], y[: SPOILED * BATCH], epochs=1)
    watch, told = watched(tmp_path)
    trained = model()
    history = fit(trained, x, y, watch)
    assert len(history.history["loss"]) == 1
    assert len(told) == 1
    assert "Training has failed (non-finite)" in told[0]
    kept = load(watch.failures[0])
    assert (kept.record["state_step"], kept.record["exact"]) == (SPOILED, True)
    assert kept.record["culprit"]
    assert np.isnan(np.asarray(kept.batches[0][0])).sum() == 1
    # Bit for bit the weights of a training that ended just before.
    expected = [np.asarray(weight) for weight in healthy.trainable_variables]
    assert same(kept.state["trainable"], expected)


def test_it_continues_as_if_nobody_had_looked(tmp_path: Path) -> None:
    x, y = data(20, spoiled=SPOILED)
    plain, trained = model(), model()
    fit(plain, x, y, epochs=2)
    watch, told = watched(tmp_path, on_failure="continue", diagnose=True)
    fit(trained, x, y, watch, epochs=2)
    assert same(everything(plain), everything(trained))
    assert len(watch.failures) == 1  # Weights that stay NaN are one failure.
    assert len(watch.diagnoses) == 1
    assert len(told) == 2


def verdict(diagnosis: Diagnosis) -> tuple[str, list[str]]:
    return diagnosis.verdict, [finding.rule for finding in diagnosis.findings]


@pytest.fixture
def half() -> Iterator[None]:
    """The policy of a script, over by the time somebody looks at what is kept."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("half")
def test_a_stalled_scale_replays_to_the_same_verdict(tmp_path: Path) -> None:
    large = keras.initializers.RandomNormal(stddev=300.0, seed=1)
    hidden = [layers.Dense(8, kernel_initializer=large, name=name) for name in ("one", "two")]
    head = [layers.Rescaling(1e-6), layers.Dense(1, dtype="float32")]
    trained = keras.Sequential([keras.Input((8,)), *hidden, *head])
    trained.compile(keras.optimizers.SGD(0.01), "mse")
    assert isinstance(trained.optimizer, keras.optimizers.LossScaleOptimizer)
    watch, told = watched(tmp_path, read_every=25, diagnose=True)
    x, y = data(40)
    fit(trained, x, y, watch, epochs=1)
    (path,) = watch.failures
    assert "stalled-scale" in path.name
    assert len(told) == 2
    (at_once,) = watch.diagnoses
    assert at_once.verdict == "precision"
    keras.config.set_dtype_policy("float32")
    later = diagnose_failure(path)
    assert verdict(later) == verdict(at_once)
    assert later.evidence.configuration.global_policy == "mixed_float16"
    assert keras.config.dtype_policy().name == "float32"
    assert trained.stop_training


def test_a_divergence_is_kept_from_before_on(tmp_path: Path) -> None:
    trained = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.Dense(1)])
    trained.compile(keras.optimizers.SGD(0.11), "mse")
    watch, _ = watched(tmp_path, read_every=2)
    x, y = data(60)
    fit(trained, 3 * x, y, watch, epochs=1)
    kept = load(watch.failures[0])
    assert kept.record["kind"] in ("divergence", "non-finite")
    assert all(np.isfinite(value).all() for value in kept.state["trainable"])


def test_train_on_batch_ends_with_an_error(tmp_path: Path) -> None:
    x, y = data(20, spoiled=3)
    trained = model()
    watch, _ = watched(tmp_path, read_every=1)

    def train() -> None:
        for n in range(0, len(x), BATCH):
            trained.train_on_batch(x[n : n + BATCH], y[n : n + BATCH])

    with watch.watching(trained), pytest.raises(TrainingFailedError, match="Kept in"):
        train()
    assert load(watch.failures[0]).record["state_step"] == 3
    trained.train_on_batch(x[:BATCH], y[:BATCH])


def test_a_disk_that_takes_nothing_does_not_end_the_training(tmp_path: Path) -> None:
    watch, told = watched(tmp_path, on_failure="continue", most_bytes=10)
    history = fit(model(), *data(20, spoiled=SPOILED), watch, epochs=2)
    assert len(history.history["loss"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "could not be kept" in told[0]


SCRIPT = """
import keras
import numpy as np

class Root(keras.layers.Layer):
    def call(self, x):
        return keras.ops.sqrt(x)

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((8,)), Root(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((160, 8), "float32")
x[100] = -1
model.fit(x, x[:, :1], batch_size=16, verbose=0, shuffle=False)
"""


def test_a_model_with_classes_of_its_own_needs_its_script(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    from floatline.scripts import run_script
    from floatline.watch.settings import WatchSettings

    told: list[str] = []
    settings = WatchSettings(str(tmp_path / "kept"), diagnose=True)
    ended = run_script(str(script), (), None, lambda *_: None, settings, told.append)
    assert ended.status == 1
    (path,) = (tmp_path / "kept").iterdir()
    with pytest.raises(InputError, match=r"classes of its own \(Root\)"):
        diagnose_failure(path)
    again = diagnose_failed_script(path, str(script))
    assert again.verdict == "not-precision"
    assert again.findings[0].rule in told[1]
    assert again.script == str(script)
    assert sys.modules["__main__"] is not None


def test_another_model_is_refused(tmp_path: Path) -> None:
    watch, _ = watched(tmp_path)
    fit(model(), *data(20, spoiled=SPOILED), watch)
    other = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
    other.compile("adam", "mse")
    fit(other, *data())
    before = everything(other)
    with pytest.raises(InputError, match="trainable variables, and the model 2"):
        diagnose_failure(watch.failures[0], other)
    assert same(before, everything(other))
