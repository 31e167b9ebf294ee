"""`floatline run`: the script's own end is the command's, and what was changed is said."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from click.testing import Result

from floatline import Plan

Run = Callable[..., Result]
MODEL = """
import sys
import keras
import numpy as np

x, y = np.ones((20, 4), "float32"), np.ones((20, 1), "float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")], name="small")
model.compile("sgd", "mse")
"""
TRAIN = """
model.fit(x, y, verbose=0)
print("computed in", model.get_layer("head").compute_dtype)
"""


def write(text: str, model: str = MODEL) -> str:
    Path("train.py").write_text(model + textwrap.dedent(text))
    return "train.py"


def save(plan: Plan) -> str:
    Path("plan.json").write_text(plan.to_json())
    return "plan.json"


def test_a_precision_is_turned_on_for_the_whole_script(run: Run) -> None:
    before = keras.config.dtype_policy(), keras.Model.compile, keras.Model.fit
    result = run("run", "--precision", "mixed_float16", write(TRAIN))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "computed in float16\n"
    assert "model 'small'" in result.stderr
    assert "loss scaling attached: CalibratedScale" in result.stderr
    assert keras.config.dtype_policy() == before[0]
    assert keras.Model.compile is before[1]


def test_without_a_precision_nothing_is_changed_or_said(run: Run) -> None:
    result = run("run", write(TRAIN))
    assert (result.stdout, result.stderr) == ("computed in float32\n", "")


def test_quiet_says_nothing(run: Run) -> None:
    result = run("run", "--quiet", "--precision", "mixed_float16", write(TRAIN))
    assert (result.stdout, result.stderr) == ("computed in float16\n", "")


def test_a_plan_is_applied(run: Run) -> None:
    plan = Plan.of("mixed_float16").with_rule("float32", path="head", reason="r")
    result = run("run", "--plan", save(plan), write(TRAIN))
    assert result.stdout == "computed in float32\n"
    assert "1 layer from mixed_float16 to float32" in result.stderr


def test_everything_after_the_script_is_the_scripts_own(run: Run) -> None:
    result = run("run", write("print(sys.argv)"), "--plan", "x", "--help")
    assert result.stdout == "['train.py', '--plan', 'x', '--help']\n"


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('no data')", 1, "no data\n"),
        ("raise ValueError('mine')", 1, "ValueError: mine\n"),
    ],
)
def test_the_scripts_exit_status_is_passed_through(
    run: Run, end: str, status: int, said: str
) -> None:
    result = run("run", write(end))
    assert result.exit_code == status
    assert result.stderr.endswith(said)


def test_a_traceback_begins_in_the_script(run: Run) -> None:
    result = run("run", write("raise ValueError('mine')"))
    first, place, *_ = result.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "train.py" in place


def test_ctrl_c_is_told_as_such(run: Run) -> None:
    assert run("run", write("raise KeyboardInterrupt")).exit_code == 130


def test_a_bad_plan_costs_no_run(run: Run) -> None:
    Path("plan.json").write_text(json.dumps({"schema_version": 9}))
    result = run("run", "--plan", "plan.json", write("print('ran')"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "plan.json: The plan has schema version 9" in result.stderr


def test_precision_and_plan_exclude_each_other(run: Run) -> None:
    result = run("run", "--precision", "float32", "--plan", save(Plan()), write(TRAIN))
    assert result.exit_code == 2
    assert "both --precision float32 and --plan plan.json" in result.stderr


@pytest.mark.parametrize("guard", ["{}", "try:\n    {}\nexcept Exception:\n    pass"])
def test_a_plan_that_does_not_fit_is_told_even_if_the_script_hides_it(run: Run, guard: str) -> None:
    plan = Plan.of("mixed_float16").with_rule("float32", path="haed", reason="r")
    script = write(guard.format("model.fit(x, y, verbose=0)"))
    result = run("run", "--plan", save(plan), script)
    assert result.exit_code == 2
    assert "Did you mean 'head'?" in result.stderr


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("keras.config.set_dtype_policy('bfloat16')", "set the policy 'bfloat16' itself"),
        ("", "compiled no Keras model"),
    ],
)
def test_what_did_not_take_is_said(run: Run, text: str, note: str) -> None:
    model = MODEL if text else "import keras\n"
    result = run("run", "--precision", "mixed_float16", write(text, model))
    assert result.exit_code == 0
    assert note in result.stderr
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("name", ["missing.py", "."])
def test_a_script_that_is_none(run: Run, name: str) -> None:
    result = run("run", name)
    assert result.exit_code == 2
    assert repr(name) in result.stderr


FAILS = """
x[5] = np.inf
model.fit(x, y, verbose=0, batch_size=1, shuffle=False)
print("went on")
"""


def test_a_training_that_fails_is_stopped_kept_and_told(run: Run) -> None:
    result = run("run", "--no-diagnose", "--watch-dir", "kept", write(FAILS))
    assert (result.exit_code, result.stdout) == (1, "went on\n")
    assert "floatline: Training has failed (non-finite)" in result.stderr
    (kept,) = Path("kept").iterdir()
    assert json.loads((kept / "failure.json").read_text())["source"]["script"].endswith("train.py")


def test_without_a_watch_nobody_looks(run: Run) -> None:
    result = run("run", "--no-watch", write(FAILS))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "went on\n", "")


def test_a_loop_that_fails_is_ended_unless_it_shall_go_on(run: Run) -> None:
    loop = """
    x[5] = np.inf
    for n in range(40):
        model.train_on_batch(x[n % 20 : n % 20 + 1], y[:1])
    print("went on")
    """
    options = ("run", "--no-diagnose", "--watch-dir", "kept")
    ended = run(*options, write(loop))
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "Training has failed (non-finite)" in ended.stderr
    went_on = run(*options, "--on-failure", "continue", write(loop))
    assert (went_on.exit_code, went_on.stdout) == (1, "went on\n")


def test_the_log_of_the_watch_is_where_it_was_asked_for(run: Run) -> None:
    log = Path("w.jsonl").absolute()
    elsewhere = "import os\nos.makedirs('there', exist_ok=True)\nos.chdir('there')\n"
    text = elsewhere + "model.fit(x, y, verbose=0, batch_size=1)"
    result = run("run", "--watch-log", "w.jsonl", "--watch-every", "5", write(text))
    assert result.exit_code == 0, result.stderr
    assert '"sample"' in log.read_text()


def test_a_log_of_another_name_costs_no_run(run: Run) -> None:
    result = run("run", "--watch-log", "w.txt", write("print('ran')"))
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_kept_failure_is_replayed(run: Run) -> None:
    run("run", "--no-diagnose", "--watch-dir", "kept", write(FAILS))
    (kept,) = Path("kept").iterdir()
    result = run("diagnose", "--json", "-", "--from", str(kept))
    assert result.exit_code == 1, result.stderr
    diagnosis = json.loads(result.stdout)
    assert diagnosis["verdict"] == "not-precision"
    assert diagnosis["findings"][0]["rule"] == "FL601"


def test_a_kept_failure_is_repaired(run: Run) -> None:
    script = """
    from keras import layers

    keras.config.set_dtype_policy("mixed_float16")
    last = layers.Dense(1, dtype="float32")
    model = keras.Sequential([keras.Input((4,)), layers.Rescaling(1e6, name="large"), last])
    model.compile("adam", "mse")
    model.fit(x, y, epochs=3, batch_size=1, verbose=0)
    """
    run("run", "--no-diagnose", "--watch-dir", "kept", write(script))
    keras.config.set_dtype_policy("float32")
    (kept,) = Path("kept").iterdir()
    asked = ("--from", str(kept), "--repair", "plan.json", "--trial-seconds", "100")
    result = run("diagnose", *asked)
    assert "Fixed: Keep layer 'large' in float32." in result.stdout, result.stderr
    (rule,) = Plan.load("plan.json").rules
    assert (rule.path, rule.policy) == ("large", "float32")


@pytest.mark.parametrize("words", [("--from", "nowhere"), ()])
def test_nothing_to_diagnose(run: Run, words: tuple[str, ...]) -> None:
    result = run("diagnose", *words)
    assert result.exit_code == 2
    assert "no folder of a failure" in result.stderr or "Missing argument" in result.stderr
