"""Runs a script as the interpreter would: its code, its `__main__`, its arguments and folder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from floatline.capture.edited import Rewrite, as_it_stands, code_of
from floatline.capture.package import package_spec, root_of
from floatline.errors import ScriptError
from floatline.sources import is_users


def compiled(path: Path, text: str | None = None, rewrite: Rewrite = as_it_stands) -> CodeType:
    """The script's code.

    Args:
        path: The script.
        text: What it is taken to hold; None for what it holds.
        rewrite: Gives the program that runs in its place.

    Raises:
        ScriptError: The script is missing, cannot be read, or is no Python.
    """
    if not path.exists():
        raise ScriptError(
            f"There is no file {str(path)!r}.",
            "Check the path; it is taken from the folder that you are in.",
        )
    if path.is_dir():
        raise ScriptError(f"{str(path)!r} is a folder.", "Name the script in it that trains.")
    try:
        source = path.read_bytes() if text is None else text
        return code_of(source, str(path.absolute()), rewrite)
    except OSError as error:
        raise ScriptError(
            f"{str(path)!r} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, as in binary files.
        line = getattr(error, "lineno", None)
        where = "" if line is None else f", line {line}"
        raise ScriptError(
            f"{str(path)!r} is not a Python script{where}: {getattr(error, 'msg', error)}.",
            "Name the Python script that trains your model.",
        ) from error


def execute(
    code: CodeType, main: ModuleType, hook: contextlib.AbstractContextManager[None]
) -> BaseException | None:
    """Runs the script under the import hook; returns what ended it early, or None."""
    try:
        with hook:
            exec(code, vars(main))
    except BaseException as error:  # noqa: BLE001 - the caller decides what each end means
        return error
    return None


@contextlib.contextmanager
def main_module(path: Path, arguments: Sequence[str]) -> Iterator[ModuleType]:
    """A `__main__`, `sys.argv` and `sys.path` as the interpreter would give them to the script.

    A script that can only run as a part of its package runs as `python -m` would run it.
    """
    main, spec = ModuleType("__main__"), package_spec(path)
    main.__file__ = str(path.absolute())
    vars(main)["__builtins__"] = __builtins__
    argv, paths, modules = sys.argv, list(sys.path), dict(sys.modules)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    if spec is not None:
        main.__spec__, main.__package__ = spec, spec.parent
        sys.path[0] = str(root_of(path))
    sys.modules["__main__"] = main
    try:
        yield main
    finally:
        sys.argv = argv
        sys.path[:] = paths
        sys.modules["__main__"] = modules["__main__"]
        _forget_siblings(path.resolve().parent if spec is None else root_of(path), modules)


def _forget_siblings(folder: Path, before: Mapping[str, ModuleType]) -> None:
    """Drops the modules that the script imported from its own folder; libraries stay loaded."""
    for name in [name for name in sys.modules if name not in before]:
        home = _home(sys.modules[name])
        if home and is_users(home) and folder in Path(home).resolve().parents:
            del sys.modules[name]


def _home(module: ModuleType) -> str | None:
    """The file of a module; of a package without an `__init__.py`, its folder."""
    spec = getattr(module, "__spec__", None)
    folders = getattr(spec, "submodule_search_locations", None) or ()
    return getattr(module, "__file__", None) or next(iter(folders), None)
