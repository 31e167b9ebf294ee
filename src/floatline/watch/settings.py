"""What a command asks of a watch, in plain values that load without Keras."""

from __future__ import annotations

from dataclasses import dataclass

from floatline.watch.records import Mode

DIRECTORY = "floatline-watch"


@dataclass(frozen=True, slots=True)
class Source:
    """What the model came from, as far as it is known."""

    script: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Arguments of `floatline.Watch`, as far as a command line has options for them.

    Attributes:
        directory: Where failures are kept.
        log: A file for every reading, sample and warning, or None.
        every: Steps between two samples; 0 takes none, None as many as cost little.
        on_failure: Whether a failure ends the training.
        diagnose: Whether a failure is diagnosed at once.
    """

    directory: str = DIRECTORY
    log: str | None = None
    every: int | None = None
    on_failure: Mode = "stop"
    diagnose: bool = True
