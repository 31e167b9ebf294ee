"""Who imports whom: the table of ARCHITECTURE.md holds, and each guard can fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import laws

TABLE = laws.import_table((laws.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
FILES = laws.source_files()


@pytest.mark.parametrize("file", FILES, ids=laws.module_of)
def test_a_module_imports_only_what_its_row_allows(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert laws.forbidden_imports(laws.module_of(file), source, TABLE) == []


@pytest.mark.parametrize("file", FILES, ids=laws.module_of)
def test_a_framework_is_imported_only_in_its_own_folder(file: Path) -> None:
    assert laws.framework_imports(laws.module_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", FILES, ids=laws.module_of)
def test_only_cli_and_report_print(file: Path) -> None:
    assert laws.printing(laws.module_of(file), file.read_text(encoding="utf-8")) == []


def test_every_row_of_the_table_stands_for_something() -> None:
    modules = {laws.module_of(file) for file in FILES}
    folders = {name for module in modules for name in (module, module.rpartition(".")[0])}
    assert set(TABLE) - folders == set()


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("floatline.findings.x", "import keras", "floatline.findings.x:1 imports keras"),
        ("floatline.findings.x", "def f():\n    import numpy as np", "x:2 imports numpy"),
        ("floatline.report.x", "from floatline.capture.capture import Budget", "capture.Budget"),
        ("floatline.report.x", "from floatline import capture", "imports floatline.capture"),
        ("floatline.tracing.x", "from floatline.backends import tensorflow", "backends.tensorflow"),
        ("floatline.records", "import floatline.capture", "imports floatline.capture"),
        ("floatline", "from floatline.report import json", "imports floatline.report.json"),
        ("floatline.report.x", "from ..capture import capture", "imports ..capture.capture"),
        ("floatline.unheard_of", "", "has no row"),
    ],
)
def test_the_import_guard_can_fail(module: str, source: str, complaint: str) -> None:
    (found,) = laws.forbidden_imports(module, source, TABLE)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("floatline.findings.x", "import math\nfrom floatline.records import Site"),
        ("floatline.findings.rules.x", "from floatline.findings.graph import Graph"),
        ("floatline.capture.x", "from keras.src import backend"),
        ("floatline.backends.tensorflow.x", "import tensorflow as tf"),
    ],
)
def test_the_import_guard_lets_pass_what_is_allowed(module: str, source: str) -> None:
    assert laws.forbidden_imports(module, source, TABLE) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("floatline.diagnose", "import tensorflow as tf"),
        ("floatline.backends.tensorflow.x", "from jax import numpy"),
        ("floatline.backends.interface", "from tensorflow.python.framework import ops"),
    ],
)
def test_the_framework_guard_can_fail(module: str, source: str) -> None:
    assert len(laws.framework_imports(module, source)) == 1


@pytest.mark.parametrize("source", ["print(1)", "import sys\nsys.stdout.write('x')"])
def test_the_printing_guard_can_fail(source: str) -> None:
    assert len(laws.printing("floatline.capture.x", source)) == 1
    assert laws.printing("floatline.cli.x", source) == []


def loaded_by(statement: str) -> set[str]:
    """Which of Keras and the frameworks a fresh Python has loaded after a statement."""
    names = ("keras", *laws.FRAMEWORKS)
    probe = (
        f"{statement}\nimport json, sys\n"
        f"print(json.dumps([name for name in {names} if name in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(laws.SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module",
    [
        "floatline",
        "floatline.cli.main",
        "floatline.findings.table",
        "floatline.pipeline",
        "floatline.report.terminal",
        "floatline.precision.plan",
    ],
)
def test_importing_it_loads_neither_keras_nor_a_framework(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_the_loading_guard_can_fail() -> None:
    assert loaded_by("import sys; sys.modules['jax'] = sys") == {"jax"}
