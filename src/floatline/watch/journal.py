"""The log of a watch, line by line: every record as JSON, or its numbers as a table."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from floatline.errors import InputError

COLUMNS = (
    "record",
    "step",
    "epoch",
    "loss",
    "loss_scale",
    "skipped_steps",
    "flushed",
    "update_ratio",
    "lost_updates",
    "headroom",
    "message",
)
"""Columns of the table; the records of layers are in the JSON lines only."""


class Journal(Protocol):
    """Where records go."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds one record."""
        ...


class Nowhere:
    """Keeps no log."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Forgets it."""


class JsonLines:
    """One JSON object a line; what is not finite is null.

    Args:
        path: The file, which grows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds one record."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(record), allow_nan=False) + "\n")


class Table:
    """Comma-separated values with a line of names.

    Args:
        path: The file, which grows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds the numbers of one record."""
        begins = not self._path.exists() or not self._path.stat().st_size
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            if begins:
                writer.writeheader()
            writer.writerow(record)


_KINDS: dict[str, Callable[[Path], Journal]] = {".jsonl": JsonLines, ".csv": Table}


def journal(path: str | Path | None) -> Journal:
    """The log that a file's name asks for.

    Raises:
        InputError: The name ends with neither `.jsonl` nor `.csv`.
    """
    if path is None:
        return Nowhere()
    target = Path(path).absolute()
    kind = _KINDS.get(target.suffix)
    if kind is None:
        raise InputError(
            f"The log {str(path)!r} of a watch ends with {target.suffix!r}.",
            f"End it with one of {', '.join(_KINDS)}.",
        )
    return kind(target)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
