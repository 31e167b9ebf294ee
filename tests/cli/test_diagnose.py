"""`floatline diagnose`: what it asks for, what it prints, how it ends."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from floatline import errors
from floatline.capture.capture import Budget
from floatline.records import Diagnosis
from tests.architecture import laws
from tests.cli.conftest import Stub
from tests.report import samples

Run = Callable[..., Result]


def test_everything_after_the_script_is_the_scripts_own(stub: Stub, run: Run) -> None:
    run("diagnose", "--steps", "7", "train.py", "--help", "--steps", "9", "--", "-x", "a b")
    assert stub.script == "train.py"
    assert stub.arguments == ("--help", "--steps", "9", "--", "-x", "a b")
    assert stub.keywords["budget"] == Budget(steps=7)


def test_options_reach_the_diagnosis(stub: Stub, run: Run) -> None:
    run("diagnose", "--precision", "mixed_float16", "--seconds", "2.5", "train.py")
    assert stub.keywords["precision"] == "mixed_float16"
    assert stub.keywords["budget"] == Budget(Budget().steps, 2.5)
    run("diagnose", "train.py")
    assert stub.keywords["precision"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--precision", "float8", "train.py"), "'float8' is not one of 'mixed_float16'"),
        (("--steps", "0", "train.py"), "0 is not in the range x>=1"),
        (("--seconds", "0", "train.py"), "0.0 is not in the range x>0"),
        ((), "Missing argument 'SCRIPT'"),
        (("--unheard-of", "train.py"), "No such option"),
    ],
)
def test_bad_arguments_are_told_before_anything_runs(
    stub: Stub, run: Run, words: tuple[str, ...], message: str
) -> None:
    result = run("diagnose", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert stub.calls == 0


@pytest.mark.parametrize(
    ("diagnosis", "code"),
    [
        (samples.healthy(), 0),
        (samples.precision(), 1),
        (samples.other("not-precision"), 1),
        (samples.other("undecided"), 3),
    ],
    ids=lambda value: getattr(value, "verdict", None),
)
def test_the_verdict_decides_the_exit_status(
    stub: Stub, run: Run, diagnosis: Diagnosis, code: int
) -> None:
    stub.answer = diagnosis
    assert run("diagnose", "train.py").exit_code == code


def test_the_report_is_printed_with_the_command_that_repeats_it(stub: Stub, run: Run) -> None:
    stub.answer = samples.healthy()
    result = run("diagnose", "--precision", "float16", "--steps", "5", "my train.py", "--lr", "1")
    assert result.stdout.startswith("Healthy: ")
    again = "floatline diagnose --precision float16 --steps 5 'my train.py' --lr 1"
    assert f"Again: {again}" in " ".join(result.stdout.split())
    assert result.stderr == ""


def test_quiet_prints_the_verdict_alone(stub: Stub, run: Run) -> None:
    result = run("diagnose", "--quiet", "train.py")
    assert result.stdout.startswith("The precision is at fault.\n")
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr == ""


def test_json_goes_to_a_file_beside_the_report(stub: Stub, run: Run, tmp_path: Path) -> None:
    result = run("diagnose", "--json", "out.json", "train.py")
    assert result.stdout.startswith("The precision is at fault.\n")
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert document["verdict"] == "precision"
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_disk_that_is_full_does_not_cost_the_answer(
    stub: Stub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("floatline.cli.diagnose.forms.write", full)
    result = run("diagnose", "--json", "diagnosis.json", "train.py")
    assert result.exit_code == 2
    assert "The precision is at fault" in result.stdout
    assert "No space left on device" in result.stderr


def test_a_script_that_changes_the_folder_does_not_move_the_result(
    stub: Stub, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    stub.meanwhile = lambda: os.chdir("elsewhere")
    run("diagnose", "--json", "out.json", "train.py")
    assert (tmp_path / "out.json").is_file()


def test_json_on_standard_output_is_all_there(stub: Stub, run: Run) -> None:
    stub.meanwhile = lambda: print("epoch 1")
    result = run("diagnose", "--json", "-", "train.py")
    assert json.loads(result.stdout)["verdict"] == "precision"
    assert "epoch 1" in result.stderr
    assert result.exit_code == 1


def test_nothing_a_process_prints_gets_between_the_json() -> None:
    program = """
import os, sys, types
from tests.report import samples
module = types.ModuleType("floatline.pipeline")
def diagnose_script(*args, **kwargs):
    print("from python")
    os.system("echo from a child")
    os.write(1, b"from the framework\\n")
    return samples.precision()
module.diagnose_script = diagnose_script
sys.modules["floatline.pipeline"] = module
from floatline.cli.main import cli
print("before", flush=True)
cli(["diagnose", "--json", "-", "train.py"])
"""
    path = os.pathsep.join([str(laws.SOURCE), str(laws.ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    before, _, document = done.stdout.partition("\n")
    assert before == "before"
    assert json.loads(document)["verdict"] == "precision"
    for source in ("python", "a child", "the framework"):
        assert f"from {source}\n" in done.stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [("missing/out.json", "the folder {}/missing does not exist"), (".", "this is a folder")],
)
def test_a_json_file_that_cannot_be_written_is_told_before_anything_runs(
    stub: Stub, run: Run, tmp_path: Path, target: str, message: str
) -> None:
    result = run("diagnose", "--json", target, "train.py")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"floatline: --json {target}: ")
    assert message.format(os.path.realpath(tmp_path)) in result.stderr
    assert stub.calls == 0


def test_an_error_is_one_message_with_advice(stub: Stub, run: Run) -> None:
    stub.answer = errors.ScriptError("train.py raised ValueError: no.", "Run it alone first.")
    result = run("diagnose", "train.py")
    assert result.exit_code == 2
    assert result.stderr == "floatline: train.py raised ValueError: no.\nRun it alone first.\n"
    assert result.stdout == ""


def test_debug_shows_where_an_error_comes_from(stub: Stub, run: Run) -> None:
    stub.answer = errors.TrainingError("labels out of range")
    result = run("diagnose", "--debug", "train.py")
    assert result.exit_code == 2
    assert result.stderr.startswith("floatline: labels out of range\nTraceback")
    assert "floatline.errors.TrainingError: labels out of range" in result.stderr


def test_a_fault_of_ours_is_told_as_such(stub: Stub, run: Run) -> None:
    stub.answer = KeyError("site")
    result = run("diagnose", "train.py")
    assert result.exit_code == 2
    assert result.stderr.startswith("floatline: internal error: KeyError: 'site'\n")
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_without_words_is_named_by_its_type(stub: Stub, run: Run) -> None:
    stub.answer = AssertionError()
    result = run("diagnose", "train.py")
    assert "internal error: AssertionError\n" in result.stderr


def test_ctrl_c_leaves_nothing_behind(stub: Stub, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("of yesterday")
    stub.answer = KeyboardInterrupt()
    result = run("diagnose", "--json", "out.json", "train.py")
    assert result.exit_code == 130
    assert result.stderr == "floatline: interrupted; nothing half-written is left behind.\n"
    assert (tmp_path / "out.json").read_text() == "of yesterday"
    assert os.listdir(tmp_path) == ["out.json"]


def test_ctrl_c_while_writing_leaves_the_old_file(
    stub: Stub, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.json").write_text("of yesterday")

    def interrupted(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("floatline.cli.output.os.replace", interrupted)
    assert run("diagnose", "--json", "out.json", "train.py").exit_code == 130
    assert (tmp_path / "out.json").read_text() == "of yesterday"
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize(("before", "after"), [(None, "3"), ("0", "0")])
def test_tensorflow_is_quiet_unless_the_user_wants_it_loud(
    stub: Stub, run: Run, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    if before is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", before)
    seen = []
    stub.meanwhile = lambda: seen.append(os.environ["TF_CPP_MIN_LOG_LEVEL"])
    run("diagnose", "train.py")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # undone with the rest at the end
    assert seen == [after]


def test_help_documents_every_exit_status(run: Run) -> None:
    result = run("diagnose", "--help")
    assert result.exit_code == 0
    for code in ("0    ", "1    ", "2    ", "3    ", "130  "):
        assert f"\n    {code}" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
