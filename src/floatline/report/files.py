"""A diagnosis to a file and back; the suffix tells the form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from floatline import files
from floatline.errors import InputError
from floatline.records import Diagnosis
from floatline.report import json, reading


def _html(diagnosis: Diagnosis) -> str:
    from floatline.report.html.page import page

    return page(diagnosis)


FORMS: Mapping[str, Callable[[Diagnosis], str]] = MappingProxyType(
    {".html": _html, ".json": json.dumps}
)
"""What `save` writes, by suffix."""


def save(diagnosis: Diagnosis, file: str | Path) -> None:
    """Writes a diagnosis, whole or not at all.

    Args:
        diagnosis: The whole answer.
        file: A path that ends in `.html` or `.json`.

    Raises:
        InputError: The suffix is another one, or the file cannot be written.
    """
    path = Path(file)
    if path.suffix not in FORMS:
        raise InputError(
            f"The file {str(file)!r} ends in {path.suffix or 'no suffix'!r}.",
            f"Name a file that ends in {' or '.join(FORMS)}.",
        )
    files.write(path, FORMS[path.suffix](diagnosis))


def load(file: str | Path) -> Diagnosis:
    """Reads a diagnosis that `save` or `floatline diagnose --json` has written.

    Args:
        file: Path of the JSON file, of this or an older version of Floatline.

    Returns:
        The diagnosis as it was written, with file names relative to the folder of then. Of a
        trace with more than 600 values those are there that tell most, and all of them in groups.

    Raises:
        InputError: The file cannot be read, or holds no diagnosis.
    """
    advice = "Name a file that `floatline diagnose --json FILE` or `diagnosis.save` has written."
    return files.read(file, "diagnosis", advice, reading.loads)
