"""How the stages say how far they are, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener for progress."""

    def __call__(self, stage: str, done: int = 0, total: int | None = None) -> None:
        """Says that `done` of `total` units of `stage` are finished; total None: unknown."""
        ...


def silent(stage: str, done: int = 0, total: int | None = None) -> None:
    """Listens to nothing."""
