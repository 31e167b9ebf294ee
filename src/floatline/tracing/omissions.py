"""Operations that a trace could not follow, counted while it is built."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from floatline.records import NotTraced


class Omissions:
    """Counts operations that could not be shadowed, by type and reason, and those that only move.

    Example:

    >>> omissions = Omissions()
    >>> omissions.add("Bitcast", "reads the bits of its input")
    >>> [(entry.operation, entry.count) for entry in omissions.listed()]
    [('Bitcast', 1)]
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self.moved = 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While active nothing is counted: for runs that are thrown away."""
        kept = dict(self._counts), self.moved
        try:
            yield
        finally:
            self._counts, self.moved = kept

    def add(self, operation: str, reason: str) -> None:
        """Counts one operation."""
        key = (operation, reason)
        self._counts[key] = self._counts.get(key, 0) + 1

    def any_for(self, reason: str) -> bool:
        """Whether an operation was counted for that reason."""
        return any(known == reason for _, known in self._counts)

    def listed(self) -> tuple[NotTraced, ...]:
        """What was counted, in order of first appearance."""
        return tuple(NotTraced(op, n, reason) for (op, reason), n in self._counts.items())
