"""What trials of remedies came to, for a terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from floatline.records import SourceLine
from floatline.repairs import Repair, Rewrite, SourceChange, Trial
from floatline.report import layout, numbers
from floatline.report.places import line_of

_SHORT = 6
"""Lines of the user's up to which a change is shown whole."""

_HEADER = ("trial", "result", "steps", "skipped", "loss", "in float32")


def sections(repair: Repair | None, base: Path) -> Iterator[RenderableType]:
    """The repair in words, its cost, and a line for every trial."""
    if repair is None:
        return
    lines: list[RenderableType] = [Text(f"{repair.verdict.capitalize()}: {repair.explanation}")]
    lines += [layout.bullet(f"{remedy.summary} Cost: {remedy.cost}") for remedy in repair.remedies]
    yield layout.section("Repair", lines)
    if repair.changes:
        edits = [part for change in repair.changes for part in _edit(change, base)]
        came = what_came(repair)
        told = [] if came is None else [Text(came)]
        yield layout.section(source_title(repair), [*edits, *told])
    if repair.trials:
        rows = [_row(number, trial) for number, trial in enumerate(repair.trials, start=1)]
        yield layout.section("Trials", [layout.columns(_HEADER, rows), *_legend(repair.trials)])


def _edit(change: SourceChange, base: Path) -> Iterator[RenderableType]:
    """The lines as they stand, and as they could read."""
    place = line_of(SourceLine(change.file, change.line), base)
    yield Text(f"{place}: {change.reason}")
    now, then = change.now.splitlines(), change.then.splitlines()
    if len(now) > _SHORT:
        yield Text("\n".join(_apart(now, then)))
        return
    for mark, lines in (("-", now), ("+", then)):
        yield Text("\n".join(f"   {mark} {line}" for line in lines))


def _apart(now: list[str], then: list[str]) -> Iterator[str]:
    """What differs between long texts, each time with the line around it."""
    _, _, *differences = difflib.unified_diff(now, then, n=1, lineterm="")
    for line in differences:
        yield "   ..." if line.startswith("@@") else f"   {line[0]} {line[1:]}"


def source_title(repair: Repair) -> str:
    """The heading of the changes in the user's source."""
    return "In your source" if repair.plan is None else "Or in your source"


def what_came(repair: Repair) -> str | None:
    """What the script did with its source changed; None when it did not run so."""
    if not repair.rewrites:
        return None
    runs = numbers.counted(len(repair.rewrites), "run")
    what = "the changed script was run" if repair.patch else "no change of the source is proven"
    return f"Tried: {what} ({runs}). {_cure(repair).reason}"


def _cure(repair: Repair) -> Rewrite:
    """The last run that cured; the last one where none did."""
    cures = [rewrite for rewrite in repair.rewrites if rewrite.verdict == "fixed"]
    return (cures or repair.rewrites)[-1]


def _row(number: int, trial: Trial) -> tuple[str, ...]:
    return (
        str(number),
        trial.verdict,
        f"{trial.steps:,}",
        f"{trial.skipped:,}",
        _loss(trial.loss),
        _loss(trial.float32_loss),
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _legend(trials: tuple[Trial, ...]) -> Iterator[RenderableType]:
    """What was tried in each trial."""
    yield Text("")
    for number, trial in enumerate(trials, start=1):
        tried = " ".join(trial.remedies) or "No remedy, with Floatline's loss scaling."
        yield Text(f"{number}. {tried}")
    spent = sum(trial.seconds for trial in trials)
    yield Text(f"{numbers.counted(len(trials), 'training')} in {spent:.0f} s.")
