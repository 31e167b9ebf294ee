"""Failures on disk are whole or not there, few, small, and noticed when they are damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from floatline.errors import InputError
from floatline.watch import folder


def name(number: int) -> str:
    return f"failure-20260101-0000{number:02d}-{number}-non-finite"


def writing(size: int) -> Callable[[Path], Mapping[str, Any]]:
    def write(target: Path) -> Mapping[str, Any]:
        (target / "state.npz").write_bytes(b"x" * size)
        return {"kind": "non-finite"}

    return write


def keep(directory: Path, number: int, size: int = 100, most: int = 3, room: int = 10**6) -> Path:
    return folder.keep(directory, name(number), writing(size), most=most, most_bytes=room)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    kept = keep(tmp_path, 1)
    assert folder.failures(tmp_path) == [kept]
    assert folder.read(kept)["kind"] == "non-finite"
    assert os.listdir(tmp_path) == [kept.name]


def test_there_are_never_more_than_asked(tmp_path: Path) -> None:
    for number in range(7):
        keep(tmp_path, number)
    assert [path.name for path in folder.failures(tmp_path)] == [name(4), name(5), name(6)]


def test_they_take_no_more_bytes_than_asked(tmp_path: Path) -> None:
    for number in range(5):
        keep(tmp_path, number, size=4000, most=100, room=10_000)
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) <= 10_000
    assert [path.name for path in folder.failures(tmp_path)] == [name(3), name(4)]


def test_one_that_is_too_large_leaves_nothing_and_drops_nothing(tmp_path: Path) -> None:
    before = keep(tmp_path, 1)
    with pytest.raises(InputError, match="only 3000 are allowed"):
        keep(tmp_path, 2, size=4000, room=3000)
    assert os.listdir(tmp_path) == [before.name]


def test_a_crash_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def write(target: Path) -> Mapping[str, Any]:
        (target / "state.npz").write_bytes(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.keep(tmp_path, name(1), write, most=3, most_bytes=10**6)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_no_failure_and_is_cleared_later(tmp_path: Path) -> None:
    nobody = 2**22 + 1  # Above the largest process id.
    left = tmp_path / f".unfinished-{nobody}-{name(1)}"
    left.mkdir()
    (left / folder.RECORD).write_text(json.dumps({"schema_version": 1, "files": {}}))
    ours = tmp_path / f".unfinished-{os.getppid()}-{name(2)}"
    ours.mkdir()
    assert folder.failures(tmp_path) == []
    kept = keep(tmp_path, 3)
    assert sorted(os.listdir(tmp_path)) == sorted([ours.name, kept.name])


def test_other_folders_of_the_user_stay(tmp_path: Path) -> None:
    mine = tmp_path / "failure-analysis"
    mine.mkdir()
    (mine / folder.RECORD).write_text("{}")
    for number in range(4):
        keep(tmp_path, number, most=1)
    assert mine.is_dir()


@pytest.mark.parametrize("damage", ["cut", "gone", "none"])
def test_a_damaged_failure_is_refused(tmp_path: Path, damage: str) -> None:
    kept = keep(tmp_path, 1)
    if damage == "cut":
        (kept / "state.npz").write_bytes(b"x" * 99)
    elif damage == "gone":
        (kept / "state.npz").unlink()
    else:
        kept = tmp_path
    with pytest.raises(InputError, match=r"missing|no folder of a failure"):
        folder.read(kept)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / folder.RECORD).write_text(json.dumps({"schema_version": 2, "files": {}}))
    with pytest.raises(InputError, match="version 2"):
        folder.read(tmp_path)
