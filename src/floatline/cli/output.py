"""Where results go: whole files or none, and a standard output that holds nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from floatline.errors import InputError


def checked_target(name: str) -> Path:
    """The file that `--json` names, found writable before anything has run.

    Args:
        name: As given on the command line, relative to the present working folder.

    Raises:
        InputError: The folder is missing, or the file cannot be written.
    """
    path = Path(os.path.realpath(name))
    folder = path.parent
    if path.is_dir():
        raise InputError(f"--json {name}: this is a folder.", "Name a file inside it.")
    if not folder.is_dir():
        raise InputError(
            f"--json {name}: the folder {folder} does not exist.",
            "Create it first, or name a file in an existing folder.",
        )
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(
            f"--json {name}: no permission to write it.", "Name a file that you may write."
        )
    return path


def write_atomically(path: Path, text: str) -> None:
    """Writes a whole file or leaves what was there, whatever happens meanwhile.

    A device such as /dev/null is written to, not replaced.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """While active, what anyone prints goes to stderr: Python, the framework, child processes."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_descriptor_on_stderr())
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


@contextlib.contextmanager
def _descriptor_on_stderr() -> Iterator[None]:
    stdout = sys.stdout
    try:
        descriptor, target = stdout.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        yield  # not the process's own streams: Python's redirection is all there is
        return
    stdout.flush()
    kept = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        stdout.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
