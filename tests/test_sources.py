"""Whose files are whose."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from floatline.sources import is_users, library_folders


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `PYTHONPATH` names; what was known of folders is forgotten."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    library_folders.cache_clear()
    is_users.cache_clear()
    return tmp_path


def test_a_folder_of_modules_is_the_users(elsewhere: Path) -> None:
    assert is_users(str(elsewhere / "train.py"))


def test_a_folder_that_packages_were_installed_into_is_not(elsewhere: Path) -> None:
    (elsewhere / "tensorflow-2.21.0.dist-info").mkdir()
    assert not is_users(str(elsewhere / "tensorflow" / "ops.py"))


def test_unless_that_is_where_the_user_works(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "tensorflow-2.21.0.dist-info").mkdir()
    monkeypatch.chdir(elsewhere)
    assert is_users(os.path.join(os.getcwd(), "train.py"))
