"""Source files: which are the user's and not a package's, and what their lines are."""

from __future__ import annotations

import io
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType

_OWN_FOLDER = str(Path(__file__).resolve().parent)

_GENERATED = "__autograph_generated_file"
"""AutoGraph runs a rewritten copy of the user's function; its line numbers are not the user's."""


@cache
def library_folders() -> tuple[str, ...]:
    """Folders whose files are not the user's: the standard library, packages, Floatline.

    Packages may also be installed into a folder of its own that `PYTHONPATH` names.
    """
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages(), _OWN_FOLDER}
    folders |= {folder for folder in sys.path if _holds_packages(Path(folder))}
    keras = sys.modules.get("keras")
    if keras is not None and keras.__file__:
        folders.add(str(Path(keras.__file__).parent))
    resolved = {str(Path(folder).resolve()) for folder in folders}
    return tuple(f"{folder}/" for folder in sorted(folders | resolved))


def _holds_packages(folder: Path) -> bool:
    return folder.resolve() != Path.cwd() and any(folder.glob("*.dist-info"))


@cache
def is_users(file: str) -> bool:
    """Whether a code object's file name is a file of the user's.

    Example:

    >>> is_users(site.__file__)
    False
    >>> is_users("/home/ada/train.py"), is_users("<string>")
    (True, False)
    """
    # Code that is run by a relative path keeps that path as its name.
    path = str(Path(file).absolute())
    generated = Path(file).name.startswith(_GENERATED)
    return not (file.startswith("<") or generated or path.startswith(library_folders()))


def user_asked() -> bool:
    """Whether what runs was called by a line of the user's, and not while a library is imported."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (as `inspect` does, without the source)
    while frame is not None:
        file = frame.f_code.co_filename
        if is_users(file) or file.startswith("<frozen importlib"):
            return is_users(file)
        frame = frame.f_back
    return False


def lines_of(text: str) -> list[str]:
    r"""Lines with their ends, as Python counts them: a form feed or a Unicode separator ends none.

    Example:

    >>> lines_of("a\n\x0cb\u2028c")
    ['a\n', '\x0cb\u2028c']
    """
    return io.StringIO(text, newline="\n").readlines()
