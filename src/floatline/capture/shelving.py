"""Decides whether the states that a diagnosis keeps lie in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from floatline.backends.shelf import Shelf
from floatline.progress import Progress

SHARE = 1 / 8
"""Share of the free memory that one state may take to be kept there: up to four moments of the
training are kept, what is to be put back in the end, and one for each trial, beside the traces."""


class Shelving:
    """Opens a shelf as soon as a state is too large for memory.

    Args:
        progress: Told of it.
        free_bytes: Memory that the training's device has left; None for the host's.
        available_bytes: Memory that the host has left.
    """

    def __init__(
        self,
        progress: Progress,
        free_bytes: Callable[[], int | None],
        available_bytes: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
    ) -> None:
        self._progress = progress
        self._free_bytes = free_bytes
        self._available_bytes = available_bytes
        self.shelf: Shelf | None = None
        self.note: str | None = None

    def decide(self, size: int) -> Shelf | None:
        """The shelf for states of so many bytes, or None where memory has room for them.

        Raises:
            StorageError: There is no folder for it.
        """
        device = self._free_bytes()
        free = self._available_bytes() if device is None else device
        if self.shelf is None and size > SHARE * free:
            self.shelf = Shelf()
            self._progress("keeping the state of the training on disk")
            self.note = (
                f"The state of the training, {size / 2**20:,.0f} MiB, was kept on disk between "
                f"steps: {free / 2**20:,.0f} MiB of memory were free."
            )
        return self.shelf
