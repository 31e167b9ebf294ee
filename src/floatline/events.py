"""TensorBoard's event files: the library that writes them, and what is said where it is missing."""

from __future__ import annotations

import importlib
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from floatline.errors import InputError


def require() -> None:
    """Finds the library without loading it.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("tensorboardX") is None:
        raise InputError(
            "Files for TensorBoard need tensorboardX, which is not installed.",
            "Run `pip install 'floatline[tensorboard]'`.",
        )


def library() -> Any:
    """The library. It imports PyTorch where that is installed, but never TensorFlow.

    Raises:
        InputError: It is not installed.
    """
    require()
    return importlib.import_module("tensorboardX")


def writer(folder: Path) -> Any:
    """Writes into a folder, which is made when it is missing; what it holds already stays.

    Raises:
        InputError: The library is not installed, or the folder cannot be written.
    """
    try:
        # Without a suffix, two files of the same second have the same name.
        suffix = f".{os.getpid()}.{time.monotonic_ns()}"
        return library().SummaryWriter(str(folder), flush_secs=10, filename_suffix=suffix)
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be written: {error.strerror}.",
            "Name a folder that you may write to.",
        ) from error
