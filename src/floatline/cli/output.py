"""Where results go: whole files or none, and a standard output that holds nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from floatline.errors import InputError


def checked_target(name: str, option: str = "--json") -> Path:
    """The file that an option names, found writable before anything has run.

    Args:
        name: As given on the command line, relative to the present working folder.
        option: The option, for the complaint.

    Raises:
        InputError: The folder is missing, or the file cannot be written.
    """
    path = Path(os.path.realpath(name))
    folder = path.parent
    if path.is_dir():
        raise InputError(f"{option} {name}: this is a folder.", "Name a file inside it.")
    if not folder.is_dir():
        raise InputError(
            f"{option} {name}: the folder {folder} does not exist.",
            "Create it first, or name a file in an existing folder.",
        )
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(
            f"{option} {name}: no permission to write it.", "Name a file that you may write."
        )
    return path


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


def checked_folder(name: str, option: str) -> Path:
    """The folder that an option names; it is made when it is needed.

    Raises:
        InputError: There is a file of that name, or no permission.
    """
    path = Path(os.path.realpath(name))
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"{option} {name}: {existing} is a file.", "Name a folder.")
    if not os.access(existing, os.W_OK):
        raise InputError(
            f"{option} {name}: no permission to write in {existing}.",
            "Name a folder that you may write to.",
        )
    return path
