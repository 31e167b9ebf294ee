"""The script runs again in another process, as it was started; its files stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from floatline.capture.capture import Budget
from floatline.trials.rerun import Rerun, judged
from tests.scaling.samples import only_tensorflow

SCRIPT = """
import sys
from pathlib import Path
import keras, numpy as np
from keras import layers, ops
from parts import summed

assert sys.argv[1:] == ["--rows", "64"]
keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")
inputs = keras.Input((64,))
hidden = layers.Dense(64)(inputs)
model = keras.Model(inputs, layers.Dense(1, dtype="float32")(layers.Lambda(summed)(hidden)))
model.compile(keras.optimizers.Adam(1e-3), "mse")
x = 300 * np.random.default_rng(0).random((64, 64), "float32")
model.fit(x, x[:, :1] / 300, batch_size=16, epochs=6, verbose=0)
"""
PARTS = """
from keras import ops

def summed(x):
    total = ops.sum(x * x, axis=-1, keepdims=True)
    return total / 1e6
"""
CAST = "    x = ops.cast(x, 'float32')\n    total"


@pytest.fixture
def rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rerun:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "parts.py").write_text(PARTS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    made = Rerun("train.py", ["--rows", "64"], None, Budget(steps=24, seconds=60.0))
    monkeypatch.chdir("/")  # Scripts may change it.
    return made


def test_a_change_in_an_imported_file_cures(rerun: Rerun) -> None:
    file = rerun.folder / "parts.py"
    ill = rerun({}, 24, 300.0)
    assert ill.verdict == "not fixed"
    assert {change.file for change in ill.changes} == {str(file)}
    cured = rerun({str(file): PARTS.replace("    total", CAST, 1)}, 24, 300.0)
    assert (cured.verdict, cured.steps) == ("fixed", 24)
    assert file.read_text(encoding="utf-8") == PARTS


def test_a_script_that_breaks_is_undecided(rerun: Rerun) -> None:
    file = str(rerun.folder / "train.py")
    answer = rerun({file: "raise ValueError('no such cast')\n"}, 24, 300.0)
    assert answer.verdict == "undecided"
    assert "no such cast" in answer.reason


def test_a_script_that_takes_too_long_is_undecided(rerun: Rerun) -> None:
    file = str(rerun.folder / "train.py")
    answer = rerun({file: "import time\ntime.sleep(600)\n"}, 24, 0.5)
    assert answer.verdict == "undecided"


@pytest.mark.parametrize(
    ("verdict", "steps", "expected"),
    [
        ("healthy", 10, "fixed"),
        ("healthy", 9, "undecided"),
        ("precision", 30, "not fixed"),
        ("not-precision", 30, "not fixed"),
        ("undecided", 30, "undecided"),
    ],
)
def test_nothing_wrong_counts_as_long_as_the_fault_was_watched(
    verdict: str, steps: int, expected: str
) -> None:
    reply = {"verdict": verdict, "explanation": "", "steps": steps, "changes": [], "ended": False}
    assert judged(reply, 10).verdict == expected


@pytest.mark.parametrize(
    ("steps", "ended", "lasting"), [(29, False, False), (30, False, True), (10, True, True)]
)
def test_a_cure_lasts_to_the_end_or_three_times_as_long(
    steps: int, *, ended: bool, lasting: bool
) -> None:
    reply = {"verdict": "healthy", "explanation": "", "steps": steps, "changes": [], "ended": ended}
    assert judged(reply, 10).lasting is lasting


def test_where_a_script_breaks_the_next_cast_is_proposed(rerun: Rerun) -> None:
    file = str(rerun.folder / "parts.py")
    text = PARTS.replace("total / 1e6", "ops.matmul(total, total[:, :3]) / 1e6")
    answer = rerun({file: text}, 24, 300.0)
    assert answer.verdict == "undecided"
    (change,) = answer.changes
    assert (change.file, change.line) == (file, 6)
    assert change.then.startswith("total = ops.cast(total")


@only_tensorflow
def test_a_function_that_autograph_reads_again_is_changed_as_well(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    patient = Path(__file__).parents[1] / "patients/scripts/precision/forgotten_scale.py"
    shutil.copyfile(patient, script)
    text = script.read_text(encoding="utf-8")
    scaled = text.replace(
        "    gradients = tape.gradient(loss,",
        "        loss = optimizer.scale_loss(loss)\n    gradients = tape.gradient(loss,",
    )
    answer = Rerun(str(script), [], None, Budget(steps=40, seconds=60.0))(
        {str(script): scaled}, 40, 300.0
    )
    assert (answer.verdict, answer.steps >= 40) == ("fixed", True)
