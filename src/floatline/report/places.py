"""Places as people read them: paths below the working folder, source lines quoted."""

from __future__ import annotations

import tokenize
from pathlib import Path

from floatline.records import Place, SourceLine


def shown(file: str, base: Path) -> str:
    """The path of a file, relative to `base` when it lies below it.

    Example:

    >>> shown("/home/ada/run/train.py", Path("/home/ada/run"))
    'train.py'
    >>> shown("/usr/lib/keras/ops.py", Path("/home/ada/run"))
    '/usr/lib/keras/ops.py'
    >>> shown("train.py", Path("/home/ada/run"))
    'train.py'
    """
    path = Path(file)
    return str(path.relative_to(base)) if path.is_relative_to(base) else file


def line_of(source: SourceLine, base: Path) -> str:
    """File and line in the form that editors open.

    Example:

    >>> line_of(SourceLine("/home/ada/train.py", 31), Path("/home/ada"))
    'train.py:31'
    """
    return f"{shown(source.file, base)}:{source.line}"


def library_line(source: SourceLine, base: Path) -> str:
    """File and line in a package, from the package on: where it is installed is long and no news.

    Example:

    >>> library_line(SourceLine("/opt/lib/site-packages/keras/src/ops.py", 7), Path("/home/ada"))
    'keras/src/ops.py:7'
    """
    for folder in ("/site-packages/", "/dist-packages/"):
        _, found, inside = source.file.rpartition(folder)
        if found:
            return f"{inside}:{source.line}"
    return line_of(source, base)


def quoted(source: SourceLine, base: Path) -> str | None:
    """The text of a source line without its indentation, or None when it cannot be read."""
    try:
        with tokenize.open(base / source.file) as file:
            lines = file.read().splitlines()
    except (OSError, SyntaxError, UnicodeError):
        return None
    if not 1 <= source.line <= len(lines):
        return None
    return lines[source.line - 1].strip() or None


def layer_of(place: Place) -> str:
    """The layer with its class, or where an operation outside every layer belongs.

    Example:

    >>> layer_of(Place("encoder/dense", "MatMul", "m", "forward", layer_class="Dense"))
    'layer encoder/dense (Dense)'
    >>> layer_of(Place(None, "Mul", "m", "backward"))
    'outside every layer'
    """
    if place.layer is None:
        return "outside every layer"
    kind = f" ({place.layer_class})" if place.layer_class else ""
    return f"layer {place.layer}{kind}"
