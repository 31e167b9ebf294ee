"""Text files are read or complained about, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from floatline import files
from floatline.errors import InputError


def refuse(text: str) -> str:
    raise InputError(f"It holds {text!r}.", "Write something else.")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    files.write(tmp_path / "a.txt", "\u00e4 2\n")
    assert files.read(tmp_path / "a.txt", "note", "", str.split) == ["\u00e4", "2"]


def test_a_file_that_cannot_be_read_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "bits").write_bytes(b"\xff\xfe\x00")
    for name, why in (
        ("gone", "No such file"),
        (".", "Is a directory"),
        ("bits", "no text in UTF-8"),
    ):
        with pytest.raises(InputError, match=why) as caught:
            files.read(tmp_path / name, "note", "Name a note.", str)
        assert "Errno" not in str(caught.value)
        assert caught.value.advice == "Name a note."


def test_a_complaint_about_what_a_file_holds_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"a.txt: It holds 'x'") as caught:
        files.read(tmp_path / "a.txt", "note", "Name a note.", refuse)
    assert caught.value.advice == "Write something else."


def test_the_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    files.write(tmp_path / "a.json", "{}")
    (tmp_path / "b.json").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b.json").stat().st_mode


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        files.write(tmp_path / "a.json", "\ud800")
    assert os.listdir(tmp_path) == []
