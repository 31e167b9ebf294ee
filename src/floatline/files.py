"""Text files in and out, whole or not at all, with a clear complaint when that fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from floatline.errors import InputError

T = TypeVar("T")


def read(file: str | Path, kind: str, advice: str, parse: Callable[[str], T]) -> T:
    """What a text file holds.

    Args:
        file: Its path.
        kind: What it should be, for the complaint.
        advice: What to do when it cannot be read.
        parse: Makes it of the text.

    Raises:
        InputError: The file cannot be read; or `parse` complains, then with the file's name.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"The {kind} {str(file)!r} is no text in UTF-8.", advice) from error
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"The {kind} {str(file)!r} cannot be read: {why}.", advice) from error
    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"{file}: {error.message}", error.advice) from error


def write(path: Path, text: str) -> None:
    """Writes a whole text file, or leaves what was there.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # A device such as /dev/null.
            path.write_text(text, encoding="utf-8")
            return
        _replace(path, text)
    except OSError as error:
        raise InputError(
            f"The file {str(path)!r} cannot be written: {error.strerror}.",
            "Name a file in an existing folder that you may write to.",
        ) from error


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
