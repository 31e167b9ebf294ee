"""Progress on a terminal: one line that appears after a second and leaves nothing behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from floatline.progress import Progress, silent

_PATIENCE_SECONDS = 1.0
"""What is over sooner needs no progress."""


class Ticker:
    """Remembers how far the work is, and draws it when it is asked to.

    Args:
        clock: Seconds that only grow.

    Example:

    >>> seconds = iter([0.0, 0.5, 2.0, 2.0])
    >>> ticker = Ticker(clock=lambda: next(seconds))
    >>> ticker("tracing step 3", 40, 160)
    >>> ticker.text()
    ''
    >>> ticker.text()
    'tracing step 3: 40 of 160 (2 s)'
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._line = ""
        self._spinner = Spinner("line")

    def __call__(self, stage: str, done: int = 0, total: int | None = None) -> None:
        """Notes the state of the work."""
        if total is not None:
            self._line = f"{stage}: {done:,} of {total:,}"
        elif done:
            self._line = f"{stage}: {done:,}"
        else:
            self._line = stage

    def text(self) -> str:
        """The line to show now; empty while the work is young."""
        elapsed = self._clock() - self._began
        if elapsed < _PATIENCE_SECONDS or not self._line:
            return ""
        return f"{self._line} ({elapsed:.0f} s)"

    def __rich__(self) -> Spinner | Text:
        """What rich draws."""
        text = self.text()
        if not text:
            return Text("")
        self._spinner.update(text=Text(text, no_wrap=True, overflow="ellipsis"))
        return self._spinner


@contextmanager
def shown_on(console: Console, *, quiet: bool = False) -> Iterator[Progress]:
    """Gives a listener that draws on `console`, or a silent one when nobody would see it.

    What the user's script prints meanwhile appears above the line when both go to one terminal.
    """
    if quiet or not console.is_terminal:
        yield silent
        return
    ticker = Ticker()
    shared = sys.stdout.isatty()
    with Live(
        get_renderable=ticker.__rich__,
        console=console,
        transient=True,
        refresh_per_second=8,
        redirect_stdout=shared,
        redirect_stderr=True,
    ):
        yield ticker
