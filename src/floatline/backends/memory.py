"""Memory that runs out: what a failed try held is let go, and on the host it is noticed before."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from floatline.errors import OutOfMemoryError
from floatline.headlines import headline

T = TypeVar("T")

ADVICE = "Use a smaller batch, or run the diagnosis on a machine with more memory."

RESERVE = 512 * 2**20
"""Bytes that stay free where what is computed cannot be told before: for the largest single value,
and for all else that runs on the machine. At most half of what was free in the beginning."""

CHECKED_EVERY = 64 * 2**20
"""New bytes after which the host is asked again, which takes as long as some operations."""


def within_memory(run: Callable[[], T], ran_short: Callable[[Exception], bool]) -> T:
    """What `run` returns; where memory runs out, all that it held is free when the error is raised.

    Args:
        run: What needs memory.
        ran_short: Whether an error of the framework tells that there was not enough.

    Raises:
        OutOfMemoryError: There was not enough.
    """
    try:
        return run()
    except OutOfMemoryError as noticed:
        words = noticed.message
    except Exception as error:
        if not ran_short(error):
            raise
        words = headline(error)
    # Not while the error is handled: through its traceback every value of the try would live on.
    gc.collect()
    raise OutOfMemoryError(words, ADVICE)


def check_host(needed: int) -> None:
    """Raises if the host has fewer bytes left than are needed at least.

    Linux ends a process that takes more, instead of refusing it.

    Raises:
        OutOfMemoryError: There are fewer.
    """
    free = free_host_bytes()
    if free is not None and needed > free:
        raise OutOfMemoryError(
            f"At least {needed / 2**20:,.0f} MiB of memory are needed, and {free / 2**20:,.0f} MiB "
            "are free.",
            ADVICE,
        )


class HostMemory:
    """Watches the host while values are made whose number and size nobody knows before."""

    def __init__(self) -> None:
        free = free_host_bytes()
        self._reserve = 0 if free is None else min(RESERVE, free // 2)
        self._unchecked = 0

    def made(self, size: int) -> None:
        """Notes a new value of so many bytes.

        Raises:
            OutOfMemoryError: Hardly anything is left.
        """
        self._unchecked += size
        if self._unchecked >= CHECKED_EVERY:
            self._unchecked = 0
            check_host(self._reserve)


def free_host_bytes() -> int | None:
    """Memory, with what can be swapped, that this process can still take; None off Linux.

    Other systems refuse memory, or give way in time, and say so by an error.
    """
    if sys.platform != "linux":
        return None
    machine = psutil.virtual_memory().available + psutil.swap_memory().free
    limits = [left for group in _groups() if (left := _left_in(group)) is not None]
    return int(min([machine, *limits]))


_ROOT = Path("/sys/fs/cgroup")

_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and what of it is given back at once, in both versions of Linux' control groups."""


def _groups() -> list[Path]:
    """The control groups that bound this process; in a container the outermost is its own."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            root = _ROOT / "memory" if controllers else _ROOT
            groups += [root, root / path.lstrip("/")]
    return groups


def _left_in(group: Path) -> int | None:
    for limit, use, cache in _FILES:
        try:
            most, used = (group / limit).read_text().strip(), (group / use).read_text()
            rows = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            reclaimed = {row[0]: int(row[1]) for row in rows}.get(cache, 0)
        except (OSError, ValueError):
            continue
        return None if most == "max" else int(most) - int(used) + reclaimed
    return None
