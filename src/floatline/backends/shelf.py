"""Values of a training's state in files instead of memory, each as long as somebody holds it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from floatline.errors import StorageError

LEAST_BYTES = 64 * 2**10
"""Smaller values stay in memory: a file each would cost more than they take."""

SPARE_BYTES = 256 * 2**20
"""Room on the disk that is left to others."""


class Shelf:
    """A temporary folder of arrays, removed with the last of them, or when Python ends.

    Args:
        least_bytes: Smaller arrays are left in memory.
        folder: Where the folder is made; None for the system's place for such things.
        spare_bytes: Room on the disk that is left free.

    Raises:
        StorageError: The folder cannot be made.

    Example:

    >>> shelf = Shelf(least_bytes=8)
    >>> kept = shelf.put(np.array([1.0, 2.0]))
    >>> kept.array()
    array([1., 2.])
    """

    def __init__(
        self,
        least_bytes: int = LEAST_BYTES,
        folder: Path | None = None,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self._least_bytes = least_bytes
        self._spare_bytes = spare_bytes
        self._numbers = itertools.count()
        self.folder = _made(folder)
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def takes(self, size: int) -> bool:
        """Whether a value of so many bytes is worth a file."""
        return size >= self._least_bytes

    def put(self, array: np.ndarray[Any, Any]) -> Shelved:
        """Writes an array of numbers of any dtype, bit for bit.

        Raises:
            StorageError: The disk has no room for it.
        """
        file = self.folder / str(next(self._numbers))
        self._check_room(array.nbytes)
        try:
            np.ascontiguousarray(array).reshape(-1).view(np.uint8).tofile(file)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise self._full(array.nbytes, error.strerror or str(error)) from error
        return Shelved(self, file, array.shape, array.dtype)

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < size + self._spare_bytes:
            raise self._full(size, f"its disk has {free:,} bytes free")

    def _full(self, size: int, why: str) -> StorageError:
        return StorageError(
            f"The state of the training is kept on disk, as memory is short, but {size:,} bytes "
            f"cannot be written to {self.folder.parent}: {why}.",
            "Set the environment variable TMPDIR to a folder with room for several times the "
            "weights and the optimizer, or diagnose a smaller model.",
        )


def _made(folder: Path | None) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="floatline-", dir=folder))
    except OSError as error:
        raise StorageError(
            "The state of the training is to be kept on disk, as memory is short, but there is no "
            f"folder for it: {error.strerror}.",
            "Set the environment variable TMPDIR to a folder that can be written to.",
        ) from error


class Shelved:
    """One array on a shelf; its file is removed when nobody holds this any more."""

    def __init__(
        self, shelf: Shelf, file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._shelf = shelf  # The folder stays as long as anything in it is held.
        self._file = file
        self._shape = shape
        self._dtype = dtype
        weakref.finalize(self, file.unlink, missing_ok=True)

    def array(self) -> np.ndarray[Any, Any]:
        """The array, read anew.

        Raises:
            StorageError: Somebody has removed the file.
        """
        try:
            read: np.ndarray[Any, Any] = np.fromfile(self._file, np.uint8)
        except OSError as error:
            raise StorageError(
                f"A part of the training's state cannot be read from {self._file}: "
                f"{error.strerror}.",
                "Leave temporary folders alone while a diagnosis runs.",
            ) from error
        return read.view(self._dtype).reshape(self._shape)
