"""`floatline inspect`: the script's model as it computes, without training it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from click.testing import Result

from floatline import Plan
from tests.cli.test_run import MODEL, save, write

Run = Callable[..., Result]
FIT = "model.fit(x, y, verbose=0)\nprint('trained')"

LOOP = """
variables = model.trainable_variables
optimizer = keras.optimizers.SGD()
optimizer.apply([np.ones(v.shape, "float32") for v in variables], variables)
print('trained')
"""


def layers(result: Result) -> list[dict[str, object]]:
    (document,) = json.loads(result.stdout)
    found: list[dict[str, object]] = document["layers"]
    return found


@pytest.mark.parametrize("text", [FIT, "model.train_on_batch(x, y)\nprint('trained')", LOOP])
def test_it_stops_before_training(run: Run, text: str) -> None:
    methods = keras.Model.fit, keras.optimizers.Optimizer.apply, keras.Layer.__call__
    result = run("inspect", write(text))
    assert result.exit_code == 0, result.stderr
    assert "Model 'small'" in result.stdout
    assert "trained" not in result.stdout
    assert (keras.Model.fit, keras.optimizers.Optimizer.apply, keras.Layer.__call__) == methods


def test_no_handler_of_the_scripts_stops_it(run: Run) -> None:
    result = run("inspect", write(f"try:\n    {FIT.splitlines()[0]}\nexcept Exception:\n    pass"))
    assert "Model 'small'" in result.stdout


def test_it_keeps_the_script_from_saving_what_was_not_trained(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.keras"
    kept.write_text("learnt in a week")
    run(
        "inspect",
        write(f"try:\n    {FIT.splitlines()[0]}\nfinally:\n    model.save({str(kept)!r})"),
    )
    assert kept.read_text() == "learnt in a week"


def test_a_script_that_does_not_train_shows_its_models(run: Run) -> None:
    result = run("inspect", "--json", "-", write(""))
    assert [layer["path"] for layer in layers(result)] == ["head"]


def test_what_would_be_run(run: Run) -> None:
    script = write(FIT)
    (head,) = layers(run("inspect", "--precision", "mixed_float16", "--json", "-", script))
    assert (head["variable_dtype"], head["compute_dtype"]) == ("float32", "float16")
    plan = Plan.of("mixed_float16").with_rule("float32", path="head", reason="r")
    (head,) = layers(run("inspect", "--plan", save(plan), "--json", "-", script))
    assert head["compute_dtype"] == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_model_that_is_built_by_training_is_built_first(run: Run) -> None:
    model = MODEL.replace("keras.Input((4,)), ", "")
    (head,) = layers(run("inspect", "--json", "-", write(FIT, model)))
    assert (head["parameters"], head["output_dtypes"]) == (5, ["float32"])


def test_the_batch_size_counts(run: Run) -> None:
    script = write(FIT)
    (head,) = layers(run("inspect", "--batch-size", "16", "--json", "-", script))
    assert head["activation_bytes"] == 16 * 1 * 4


def test_a_file_and_the_terminal(run: Run) -> None:
    result = run("inspect", "--json", "found.json", write(FIT))
    assert "Layers" in result.stdout
    assert json.loads(Path("found.json").read_text())[0]["model"] == "small"


def test_standard_output_holds_the_json_alone(run: Run) -> None:
    result = run("inspect", "--json", "-", write(f"print('hello')\n{FIT}"))
    assert json.loads(result.stdout)
    assert "hello" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ValueError('mine')", ["failed by itself", "ValueError: mine"]),
        ("sys.exit(3)", ["exited by itself with status 3"]),
    ],
)
def test_a_script_that_fails(run: Run, text: str, words: list[str]) -> None:
    result = run("inspect", write(text))
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words)


NORM = """
class Norm(keras.layers.Layer):
    def call(self, t):
        return t / (keras.ops.sum(t, axis=-1, keepdims=True) + 1e-9)

inputs = keras.Input((4,))
hidden = Norm(name="norm", dtype="mixed_float16")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(hidden))
model.compile("sgd", "mse")
model.fit(x, y)
"""


def test_what_is_wrong_is_told_with_its_line(run: Run) -> None:
    script = write(NORM)
    line = 1 + Path(script).read_text().splitlines().index(NORM.splitlines()[3])
    result = run("inspect", script)
    assert result.exit_code == 0, result.stderr
    assert "Told without a run: 1 wrong, nothing at risk." in result.stdout
    assert f"FL203 epsilon-underflow, layer 'norm' (train.py:{line})" in result.stdout
    assert "Cannot work as it is set up" in result.stdout
    quiet = run("inspect", "--quiet", script)
    assert "Told without a run: 1 wrong" in quiet.stdout
    assert "FL203" not in quiet.stdout
    (document,) = json.loads(run("inspect", "--json", "-", script).stdout)
    (note,) = document["configuration"]
    assert (note["rule"], note["grade"], note["source"]["line"]) == ("FL203", "wrong", line)


def test_a_loop_is_told_of_the_optimizer_that_it_applies(run: Run) -> None:
    half = LOOP.replace(
        "variables = model",
        "model = keras.Sequential([keras.Input((4,)), "
        'keras.layers.Dense(1, dtype="mixed_float16")])\nvariables = model',
        1,
    )
    result = run("inspect", write(half))
    assert "Optimizer: SGD. Loss scaling: none." in result.stdout
    assert "FL201 missing-loss-scaling" in result.stdout
    scaled = half.replace(
        "keras.optimizers.SGD()", "keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())"
    )
    assert "FL201" not in run("inspect", write(scaled)).stdout


def test_a_model_without_a_forward_pass_is_described(run: Run) -> None:
    result = run(
        "inspect",
        write("""
class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.one = keras.layers.Dense(1, name="one")

    def train_step(self, data):
        return {}

model = Pair()
model.compile("sgd")
model.built = True
model.fit(x, y)
"""),
    )
    assert result.exit_code == 0, result.stderr
    assert "The model's forward pass cannot be run by itself" in " ".join(result.stdout.split())
    assert "one" in result.stdout
