"""Unmodified scripts: the world they find, and how they fail before they train."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

from floatline.errors import BackendError, FloatlineError, InputError, ScriptError
from tests.capture.scripts import MODEL, Write, failing, run, writer


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


# The script's world. ----------------------------------------------------------------------


def test_the_script_finds_what_python_would_give_it(write: Write, tmp_path: Path) -> None:
    write("value = 42", name="sibling.py", model=False)
    script = write(
        """
        import os, sys
        import sibling

        assert __name__ == "__main__"
        assert sys.modules["__main__"].__dict__ is globals()
        assert sys.argv[1:] == ["--epochs", "3"], sys.argv
        assert os.path.samefile(sys.path[0], os.path.dirname(__file__))
        assert sibling.value == 42
        model.fit(x, y)
        """
    )
    world = sys.argv, list(sys.path), sys.modules["__main__"], os.getcwd()
    run(script, ["--epochs", "3"])
    assert (sys.argv, list(sys.path), sys.modules["__main__"], os.getcwd()) == world
    assert "sibling" not in sys.modules


@pytest.mark.parametrize("initialised", [True, False])
def test_a_script_that_imports_relatively_runs_as_a_part_of_its_package(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, initialised: bool
) -> None:
    """As `python -m package.inner.train` runs it: Python itself could not otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package" / "inner").mkdir(parents=True)
    for folder in ("package", "package/inner") if initialised else ():
        write("", name=f"{folder}/__init__.py", model=False)
    write("value = 42", name="package/sibling.py", model=False)
    script = write(
        """
        from ..sibling import value

        assert (__name__, __package__, value) == ("__main__", "package.inner", 42)
        assert __spec__.name == "package.inner.train"
        model.fit(x, y)
        """,
        name="package/inner/train.py",
    )
    before = list(sys.path)
    run(script)
    assert sys.path == before
    assert not [name for name in sys.modules if name.startswith("package")]


def test_a_script_that_need_not_import_relatively_runs_by_itself(
    write: Write, tmp_path: Path
) -> None:
    write("", name="__init__.py", model=False)
    write("value = 42", name="sibling.py", model=False)
    script = """
        try:
            from .sibling import value
        except (ImportError, ImportWarning):
            from sibling import value

        model.fit(x, y)
        """
    assert len(run(write(script)).history.steps) == 1


@pytest.mark.parametrize("precision", [None, "mixed_float16"])
@pytest.mark.parametrize(
    "text",
    [
        "model.fit(x, y)",
        "model.train_on_batch(x, y)",
        "keras.config.set_dtype_policy('bfloat16')",
        "raise ValueError",
        "import sys; sys.exit(3)",
    ],
)
def test_keras_is_itself_again(write: Write, text: str, precision: str | None) -> None:
    def methods() -> list[Any]:
        return [
            keras.Model.fit,
            keras.Model.train_on_batch,
            keras.Layer.__new__,
            keras.optimizers.Optimizer.apply,
            keras.optimizers.Optimizer.apply_gradients,
            keras.config.dtype_policy().name,
            list(sys.meta_path),
        ]

    before = methods()
    with contextlib.suppress(FloatlineError):
        run(write(text), precision=precision)
    assert methods() == before


# Precision. -------------------------------------------------------------------------------


def test_the_precision_is_set_before_the_script_begins(write: Write) -> None:
    configuration = run(write("model.fit(x, y)"), precision="mixed_float16").configuration
    assert configuration.global_policy == "mixed_float16"
    assert configuration.layers[0].compute_dtype == "float16"
    assert configuration.loss_scaling


def test_a_script_that_sets_its_own_policy_is_noted(write: Write) -> None:
    script = write("keras.config.set_dtype_policy('float32')\nmodel.fit(x, y)")
    capture = run(script, precision="mixed_float16")
    assert "sets the policy 'float32' itself" in capture.notes[0]


@pytest.mark.parametrize("precision", ["mixed_float16", "float16", "float32"])
def test_a_precision_that_no_layer_takes_is_told(write: Write, precision: str) -> None:
    own = "float32" if precision != "float32" else "mixed_float16"
    script = write(
        f"""
        import keras
        import numpy as np
        model = keras.Sequential([keras.layers.Dense(1, dtype="{own}")])
        model.build((None, 4))
        model.compile("sgd", "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
        """,
        model=False,
    )
    (note,) = run(script, precision=precision).notes
    assert note.startswith(f"The requested {precision!r} changed nothing in the layers")


STEPS = """
import keras
from floatline.marks import training_step

@training_step
def step(x):
    return x

for i in range(3):
    step(i)
"""


def test_a_precision_without_a_layer_of_keras_is_told(write: Write) -> None:
    (note,) = run(write(STEPS, model=False), precision="mixed_float16").notes
    assert note.startswith("The requested 'mixed_float16' changed nothing: ")
    assert "torch.autocast" in note


@pytest.mark.parametrize(
    ("layer", "precision"), [("", None), ("keras.layers.Dense(1)\n", "mixed_float16")]
)
def test_a_precision_that_was_not_asked_for_or_may_have_been_taken_is_not(
    write: Write, layer: str, precision: str | None
) -> None:
    script = write(STEPS.replace("from floatline", f"{layer}from floatline", 1), model=False)
    assert run(script, precision=precision).notes == ()


def test_a_precision_that_does_not_exist(write: Write) -> None:
    error = failing(write("model.fit(x, y)"), precision="mixed_float17")
    assert isinstance(error, InputError)
    assert "'mixed_float17'" in error.message
    assert "mixed_float16" in error.advice


# Scripts that do not get as far. ----------------------------------------------------------


def test_a_script_that_raises(write: Write) -> None:
    script = write("def load():\n    return {}['data']\n\nload()")
    error = failing(script)
    assert isinstance(error, ScriptError)
    assert f"at {script}:9: KeyError: 'data'" in error.message
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.__traceback__ is not None
    assert error.__cause__.__traceback__.tb_frame.f_code.co_filename == str(script)


def test_a_script_that_does_not_stand_the_precision(write: Write) -> None:
    script = write(
        """
        assert keras.config.dtype_policy().name == "float32", "float32 only"
        model.fit(x, y)
        """
    )
    error = failing(script, precision="mixed_float16")
    assert f"{script} failed under mixed_float16 before it trained" in error.message
    assert "runs without --precision" in error.advice


@pytest.mark.parametrize(
    ("leaving", "message"),
    [
        ("sys.exit()", "status 0 "),
        ("sys.exit(3)", "status 3 "),
        ("sys.exit('no data')", "status 1 before it trained: no data"),
    ],
)
def test_a_script_that_exits(write: Write, leaving: str, message: str) -> None:
    assert message in failing(write(f"import sys\n{leaving}")).message


def test_a_script_that_needs_arguments(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    script = write(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--data", required=True)
        parser.parse_args()
        """
    )
    error = failing(script)
    assert "exited by itself with status 2" in error.message
    assert f"floatline diagnose {script} --its-option value" in error.advice
    assert "usage: train.py" in capsys.readouterr().err


def test_a_script_that_never_trains(write: Write) -> None:
    error = failing(write("model.predict(x, verbose=0)"))
    assert "neither `fit` nor `train_on_batch`" in error.message
    assert "@floatline.training_step" in error.advice


def test_a_missing_file(tmp_path: Path) -> None:
    assert "There is no file" in failing(tmp_path / "nothing.py").message


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in failing(tmp_path).message


@pytest.mark.parametrize("content", [b"def broken(:\n", b"\x00\x01\x02", b"\xff\xfe\xfa"])
def test_what_is_no_python(tmp_path: Path, content: bytes) -> None:
    script = tmp_path / "train.py"
    script.write_bytes(content)
    error = failing(script)
    assert isinstance(error, ScriptError)
    assert "is not a Python script" in error.message


def test_a_framework_that_is_not_installed(write: Write) -> None:
    error = failing(write("raise ModuleNotFoundError(\"No module named 'jax'\", name='jax')"))
    assert isinstance(error, BackendError)
    assert "floatline[jax]" in error.advice


# In an interpreter of its own, where the script is the first to import Keras. ----------------

RUNNER = """
import sys
from floatline.capture.script import capture_script
from floatline.capture.capture import Budget
from floatline.errors import FloatlineError
from floatline.progress import silent
from tests.capture.fakes import FakeBackend

assert "keras" not in sys.modules
try:
    capture = capture_script(
        sys.argv[1], [], load_backend=FakeBackend, precision="mixed_float16",
        budget=Budget(), progress=silent, examine=lambda capture: capture,
    )
except FloatlineError as error:
    print(type(error).__name__, error)
else:
    print(len(capture.history.steps), "steps", capture.configuration.global_policy)
"""


def run_alone(script: Path, runner: str = RUNNER) -> str:
    root = Path(__file__).parents[2]
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = f"{root / 'src'}{os.pathsep}{root}"
    ended = subprocess.run(
        [sys.executable, "-c", runner, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


def test_the_script_is_the_first_to_import_keras(write: Write) -> None:
    script = write(
        f"""
        import os, sys
        os.environ["KERAS_BACKEND"] = "tensorflow"
        assert "tensorflow" not in sys.modules
        {MODEL.strip().replace(chr(10), chr(10) + " " * 8)}
        model.fit(x, y)
        """,
        model=False,
    )
    assert run_alone(script) == "1 steps mixed_float16\n"


def test_a_script_without_keras(write: Write) -> None:
    assert "without importing Keras" in run_alone(write("print('hello')", model=False))


def test_a_backend_that_does_not_exist(write: Write) -> None:
    script = write("import os\nos.environ['KERAS_BACKEND'] = 'abacus'\nimport keras", model=False)
    said = run_alone(script)
    assert said.startswith("BackendError")
    assert "'abacus'" in said


JAX_LOOP = """
step = jax.jit(lambda w, x: w - 0.1 * jax.grad(lambda v: ((x * v) ** 2).sum())(w))
w = jax.numpy.ones(3)
for _ in range(5):
    w = step(w, jax.numpy.ones(3))
"""


def told_of_jax(script: Path) -> str:
    """What a run of the script says, with the backend that Keras has chosen."""
    chosen = RUNNER.replace(
        "from tests.capture.fakes import FakeBackend",
        "from floatline.pipeline import load_backend as FakeBackend",
    )
    return run_alone(script, chosen + "import keras\nprint(keras.backend.backend())")


def test_a_step_on_jax_needs_no_keras_in_the_script(write: Write) -> None:
    # TensorFlow would load Keras while it is imported, and Keras would choose TensorFlow.
    script = write(f"import jax\nimport tensorflow as tf\n{JAX_LOOP}", model=False)
    assert told_of_jax(script).endswith("5 steps mixed_float16\njax\n")


def test_keras_on_another_framework_is_pointed_at(write: Write) -> None:
    script = write(f"import tensorflow as tf\nimport jax\n{JAX_LOOP}", model=False)
    said = told_of_jax(script)
    assert said.startswith("ScriptError The script trains with jax, but Keras was loaded on")
    assert "Set KERAS_BACKEND=jax" in said
