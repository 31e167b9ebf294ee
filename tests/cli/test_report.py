"""`floatline report`: renders what `diagnose --json` kept, without Keras and without the script."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from floatline.report import json as report_json
from tests.architecture import laws
from tests.cli.conftest import Stub
from tests.report import samples

Run = Callable[..., Result]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.json"
    path.write_text(report_json.dumps(samples.precision()), encoding="utf-8")
    return path


def test_without_options_it_prints_what_diagnose_printed(run: Run, kept: Path, stub: Stub) -> None:
    printed = run("report", str(kept))
    assert printed.exit_code == 0
    stub.answer = samples.precision()
    assert printed.stdout == run("diagnose", "train.py").stdout


def test_it_writes_a_page_json_and_events(run: Run, kept: Path, tmp_path: Path) -> None:
    written = ("--html", "a.html", "--json", "b.json", "--tensorboard", "events")
    result = run("report", *written, str(kept))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "b.json").read_bytes() == kept.read_bytes()
    assert len(list((tmp_path / "events").iterdir())) == 1


def test_json_goes_to_standard_output(run: Run, kept: Path) -> None:
    assert json.loads(run("report", "--json", "-", str(kept)).stdout)["verdict"] == "precision"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.json",), "'missing.json' cannot be read"),
        (("--html", "missing/a.html", "kept.json"), "--html missing/a.html: the folder"),
        (("--tensorboard", "kept.json", "kept.json"), "--tensorboard kept.json: "),
    ],
)
def test_what_cannot_be_done_is_told(
    run: Run, kept: Path, words: tuple[str, ...], message: str
) -> None:
    result = run("report", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_diagnose_writes_a_page_beside_its_report(stub: Stub, run: Run, tmp_path: Path) -> None:
    result = run("diagnose", "--html", "out.html", "train.py")
    assert result.stdout.startswith("The precision is at fault.\n")
    assert "The precision is at fault." in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_a_missing_library_is_told_before_anything_runs(
    stub: Stub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = run("diagnose", "--tensorboard", "events", "train.py")
    assert result.exit_code == 2
    assert "pip install 'floatline[tensorboard]'" in result.stderr
    assert stub.calls == 0


def test_it_needs_neither_keras_nor_a_framework(kept: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from floatline.cli.main import cli\n"
        f"try: cli(['report', '--html', 'a.html', {str(kept)!r}])\n"
        "except SystemExit: pass\n"
        f"print([n for n in {('keras', *laws.FRAMEWORKS)} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(laws.SOURCE), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "a.html").exists()
