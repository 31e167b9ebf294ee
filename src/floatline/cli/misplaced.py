"""Tells of options that stand after the script and therefore go to the script."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import click


def warn_of_misplaced(ctx: click.Context, script: str, arguments: Sequence[str]) -> None:
    """Says on standard error which of the script's arguments look like Floatline's own.

    What follows the script is the script's own, and may have the same names. It is believed to
    know an option that its text spells out, and nothing is said of that.

    Args:
        ctx: The running command, whose options count.
        script: Path of the script.
        arguments: What follows it.
    """
    text = _text(script)
    if text is None:
        return
    for name in misplaced(frozenset(_long_names(ctx.command)), arguments, text):
        command = f"{ctx.command_path} {name} ... {script}"
        click.echo(
            f"floatline: {name} stands after {script} and is handed to the script, which does not"
            f" mention it. Options of Floatline's come before the script: {command}",
            err=True,
        )


def misplaced(options: frozenset[str], arguments: Sequence[str], text: str) -> list[str]:
    """Options among a script's arguments that are not in its text; what follows -- is none.

    Example:

    >>> misplaced(frozenset({"--json", "--steps"}), ["--json=a", "--steps", "9"], "add('--steps')")
    ['--json']
    """
    before = itertools.takewhile(lambda word: word != "--", arguments)
    names = (word.partition("=")[0] for word in before)
    return [name for name in dict.fromkeys(names) if name in options and name not in text]


def _long_names(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (name for name in parameter.opts if name.startswith("--"))


def _text(script: str) -> str | None:
    """The script's text; None if it cannot be read, which is told elsewhere."""
    try:
        return Path(script).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None
