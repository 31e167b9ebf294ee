"""Scripts with a line at fault, and what they read with the changes that are proposed for it."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from pathlib import Path

from floatline.records import Finding, Number, Phase, Place, SourceLine
from floatline.remedies.source import changes
from floatline.repairs import SourceChange
from floatline.trials.editing import with_change


def proposed(
    folder: Path,
    script: str,
    rule: str,
    phase: Phase,
    evidence: Mapping[str, Number] | None = None,
    at: str = "HERE",
) -> list[tuple[SourceChange, str]]:
    """The changes that a finding proposes, and what the script reads with each.

    Args:
        folder: Where the script is written.
        script: Its text.
        rule: Id of the rule that finds something.
        phase: Where in the step it does.
        evidence: Its numbers.
        at: What stands in the line that it names, and in none before.
    """
    file = folder / "train.py"
    file.write_text(script, encoding="utf-8")
    linecache.checkcache(str(file))
    line = next(n for n, text in enumerate(script.splitlines(), 1) if at in text)
    place = Place(None, "Mul", "m", phase, SourceLine(str(file), line))
    made = changes([Finding(rule, "cause", phase, "", dict(evidence or {}), (), place)])
    return [(change, with_change({str(file): script}, change)[str(file)]) for change in made]
