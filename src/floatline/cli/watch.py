"""The options of a watch, and what they ask for."""

from __future__ import annotations

import os
from typing import Any

import click

from floatline.watch.journal import journal
from floatline.watch.settings import WatchSettings

_DEFAULT = WatchSettings()
_OPTIONS = (
    click.option(
        "--watch/--no-watch",
        default=True,
        show_default=True,
        help="Watch the script's trainings, as floatline.Watch does.",
    ),
    click.option(
        "--watch-dir",
        metavar="FOLDER",
        default=_DEFAULT.directory,
        show_default=True,
        help="Keep failures here: state, batches and how the model is made.",
    ),
    click.option(
        "--watch-log",
        metavar="FILE",
        help="Add what the watch sees to FILE (.jsonl or .csv), or for TensorBoard to a folder.",
    ),
    click.option(
        "--watch-every",
        type=click.IntRange(min=0),
        default=_DEFAULT.every,
        show_default="as often as 0.5 % of the time allows",
        help="Steps between two measured steps; 0 measures none.",
    ),
    click.option(
        "--on-failure",
        type=click.Choice(["stop", "continue"]),
        default=_DEFAULT.on_failure,
        show_default=True,
        help="End a training that has failed, or let it go on.",
    ),
    click.option(
        "--diagnose/--no-diagnose",
        default=_DEFAULT.diagnose,
        show_default=True,
        help="Diagnose a failure as soon as it is kept.",
    ),
)


def watch_options(command: Any) -> Any:
    """Adds the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def watch_asked_for(
    *,
    watch: bool,
    watch_dir: str,
    watch_log: str | None,
    watch_every: int | None,
    on_failure: Any,
    diagnose: bool,
) -> WatchSettings | None:
    """What is asked of the watch; None when there shall be none.

    Raises:
        InputError: The log has a name that says no format.
    """
    if not watch:
        return None
    journal(watch_log)
    # A script may change its working folder.
    log = None if watch_log is None else os.path.abspath(watch_log)
    return WatchSettings(os.path.abspath(watch_dir), log, watch_every, on_failure, diagnose)
