"""Files are read otherwise than they stand, by everyone, and for as long as that is asked."""

from __future__ import annotations

import importlib
import inspect
import linecache
import sys
from pathlib import Path

import pytest

from floatline.capture.edited import edited


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in a folder that Python searches; its bytecode is kept."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "sums_of_the_user.py"
    path.write_text("def value():\n    return 1\n", encoding="utf-8")
    return path


def value(path: Path) -> int:
    sys.modules.pop(path.stem, None)
    loaded = importlib.import_module(path.stem)
    found: int = loaded.value()
    return found


def test_an_import_sees_the_text_and_later_ones_the_file(module: Path) -> None:
    assert value(module) == 1
    with edited({str(module): "def value():\n    return 2\n"}):
        assert value(module) == 2
    assert value(module) == 1
    assert module.read_text(encoding="utf-8").endswith("1\n")


def test_who_reads_the_source_sees_the_text(module: Path) -> None:
    text = "def value():\n    return 1 + 2  # changed\n"
    with edited({str(module): text}):
        value(module)
        assert inspect.getsource(sys.modules[module.stem].value) == text
        linecache.checkcache()
        linecache.updatecache(str(module), vars(sys.modules[module.stem]))  # So does AutoGraph.
        assert linecache.getline(str(module), 2) == "    return 1 + 2  # changed\n"
    linecache.checkcache()
    assert linecache.getline(str(module), 2) == "    return 1\n"


def test_other_modules_are_found_as_ever(module: Path) -> None:
    with edited({str(module.with_name("another.py")): ""}):
        assert value(module) == 1


def test_an_error_takes_nothing_along(module: Path) -> None:
    finders = list(sys.meta_path)
    with pytest.raises(RuntimeError, match="stop"), edited({str(module): ""}):
        raise RuntimeError("stop")
    assert sys.meta_path == finders
    assert value(module) == 1
