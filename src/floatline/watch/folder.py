"""Failures on disk: each a folder that is whole or not there, few of them, and not too large."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from floatline.errors import InputError

SCHEMA_VERSION = 1
RECORD = "failure.json"
_NAME = re.compile(r"failure-\d{8}-\d{6}-\d+-[a-z-]+")
_UNFINISHED = re.compile(r"\.unfinished-(\d+)-.*")


def keep(
    directory: Path,
    name: str,
    write: Callable[[Path], Mapping[str, Any]],
    *,
    most: int,
    most_bytes: int,
) -> Path:
    """Writes one failure, and drops the oldest when there are too many.

    Everything is written to a folder of another name first, which is renamed when it is complete.

    Args:
        directory: Where failures are kept.
        name: The new folder's name.
        write: Writes all files but the record into a folder, and returns the record.
        most: How many failures may be there afterwards.
        most_bytes: How many bytes they may have together.

    Returns:
        The new folder.

    Raises:
        InputError: This failure alone is too large.
        OSError: It cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _clear_unfinished(directory)
    unfinished = directory / f".unfinished-{os.getpid()}-{name}"
    try:
        unfinished.mkdir()
        record = dict(write(unfinished))
        files = {file.name: _described(file) for file in sorted(unfinished.iterdir())}
        text = json.dumps({"schema_version": SCHEMA_VERSION, **record, "files": files}, indent=1)
        _write_through(unfinished / RECORD, text)
        size = _size(unfinished)
        if size > most_bytes:
            raise InputError(
                f"The failure takes {size} bytes, and only {most_bytes} are allowed.",
                "Give the watch more: Watch(most_bytes=...).",
            )
        _make_room(directory, most - 1, most_bytes - size)
        target = directory / name
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def read(folder: Path) -> dict[str, Any]:
    """The record of a failure whose files are all there and unchanged.

    Raises:
        InputError: The folder is none of ours, is incomplete, or of a newer version.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        version = record["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no folder of a failure: {RECORD} is missing or unreadable.",
            "Name a folder that a watch has written: floatline-watch/failure-...",
        ) from error
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{folder} was written in version {version}; this Floatline reads {SCHEMA_VERSION}.",
            "Use the Floatline that wrote it: its version stands in the record.",
        )
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file() or _described(path) != expected:
            raise InputError(
                f"{path} is missing or not as it was written.", "Copy the whole folder again."
            )
    return dict(record)


def failures(directory: Path) -> list[Path]:
    """The failures in a folder, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(
        path
        for path in directory.iterdir()
        if _NAME.fullmatch(path.name) and (path / RECORD).is_file()
    )


def _make_room(directory: Path, most: int, most_bytes: int) -> None:
    kept = failures(directory)
    sizes = {path: _size(path) for path in kept}
    while kept and (len(kept) > most or sum(sizes[path] for path in kept) > most_bytes):
        oldest = kept.pop(0)
        # First out of the way: a folder that is half deleted must not pass for a whole one.
        dropped = oldest.with_name(f".unfinished-{os.getpid()}-{oldest.name}")
        oldest.rename(dropped)
        shutil.rmtree(dropped, ignore_errors=True)


def _clear_unfinished(directory: Path) -> None:
    """Removes what processes have left behind that are no more."""
    for path in directory.iterdir():
        match = _UNFINISHED.fullmatch(path.name)
        if match and not _runs(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # It runs, and belongs to somebody else.
        return True
    return True


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _write_through(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
