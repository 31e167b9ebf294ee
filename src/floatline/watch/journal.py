"""The log of a watch: each record as a line of JSON, its numbers as a table, or for TensorBoard."""

from __future__ import annotations

import csv
import json
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from floatline import events
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

    def close(self) -> None:
        """A training has ended; another may follow."""
        ...


class Nowhere:
    """Keeps no log."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Forgets it."""

    def close(self) -> None:
        """Nothing is open."""


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

    def close(self) -> None:
        """Nothing is open between two records."""


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

    def close(self) -> None:
        """Nothing is open between two records."""


class Events:
    """Scalars by step for TensorBoard, and what is said as text.

    Args:
        folder: TensorBoard's log directory; each watch adds a file.

    Raises:
        InputError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        events.require()
        self._folder = folder
        self._writer: Any = None
        self._close: Callable[[], Any] = _nothing

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds the numbers of one record, those of its layers among them."""
        if self._writer is None:
            self._writer = events.writer(self._folder)
            # The library writes behind our back, and loses what waits when Python ends.
            self._close = weakref.finalize(self, self._writer.close)
        step = record["step"]
        for name, value in scalars(record):
            self._writer.add_scalar(f"floatline/{name}", value, step)
        if "message" in record:
            self._writer.add_text(f"floatline/{record['record']}", record["message"], step)

    def close(self) -> None:
        """Writes what waits; the next record begins a file of its own."""
        self._close()
        self._writer, self._close = None, _nothing


def _nothing() -> None:
    """Closes nothing."""


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The names and numbers of a record, layers below their paths.

    >>> layers = [{"layer": "a/b", "gradient": 2.0}]
    >>> list(scalars({"record": "sample", "step": 4, "flushed": 0.5, "layers": layers}))
    [('flushed', 0.5), ('layers/a/b/gradient', 2.0)]
    """
    if record["record"] in ("reading", "sample"):
        yield from _numbers(record, COLUMNS[3:])
    for layer in record.get("layers", ()):
        for name, value in _numbers(layer, layer):
            yield f"layers/{layer['layer']}/{name}", value


def _numbers(record: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        value = record.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


_KINDS: dict[str, Callable[[Path], Journal]] = {".jsonl": JsonLines, ".csv": Table, "": Events}


def journal(path: str | Path | None) -> Journal:
    """The log that a name asks for; one without an ending is a folder for TensorBoard.

    Raises:
        InputError: The name has another ending than `.jsonl` and `.csv`.
    """
    if path is None:
        return Nowhere()
    target = Path(path).absolute()
    kind = _KINDS.get(target.suffix)
    if kind is None:
        raise InputError(
            f"The log {str(path)!r} of a watch ends with {target.suffix!r}.",
            "End it with .jsonl or .csv, or name a folder for TensorBoard, without an ending.",
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
