"""Floatline knows its version, and runs without one from its source."""

from __future__ import annotations

import re
from importlib import metadata

import pytest

import floatline
from floatline.installed import version
from floatline.pipeline import environment, load_backend
from tests.architecture.laws import SOURCE


def _not_installed(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_what_is_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"floatline": "1.2"}.__getitem__)
    assert version() == "1.2"


def test_the_package_tells_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert floatline.__version__ == version()
    monkeypatch.setattr(metadata, "version", {"floatline": "1.2"}.__getitem__)
    assert floatline.__version__ == "1.2"


def test_a_diagnosis_needs_no_installed_floatline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", _not_installed)
    assert environment(load_backend()).floatline == "(not installed: run from its source)"


def test_nobody_else_asks_what_is_installed() -> None:
    asking = [
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        if re.search(r"importlib(\.| import )metadata", file.read_text(encoding="utf-8"))
    ]
    assert asking == ["floatline/installed.py"]
