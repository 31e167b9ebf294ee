"""Runs the user's script once more, in a process of its own, with other texts for its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatline.capture.capture import Budget
from floatline.repairs import SourceChange, TrialVerdict
from floatline.trials.editing import Texts
from floatline.trials.search import LONGER

MODULE = "floatline.rerun"
"""What answers in the other process."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the script with other texts.

    Attributes:
        verdict: Whether nothing was wrong any more; undecided where it could not be told.
        reason: Why, in words.
        steps: Steps that were watched.
        changes: What the diagnosis proposes to change further; for a script that fails, at the line
            that fails.
        lasting: Whether it was watched to its end, or `LONGER` times as long as the fault took.
        failed: Whether the script fails by itself with these texts.
        losses: The loss of each step that was watched.
    """

    verdict: TrialVerdict
    reason: str
    steps: int = 0
    changes: tuple[SourceChange, ...] = ()
    lasting: bool = False
    failed: bool = False
    losses: tuple[float | None, ...] = ()


class Rerun:
    """A script that can be run again as it was started, whatever it has changed since.

    Args:
        script: Path of the script.
        arguments: Its arguments.
        precision: The dtype policy that is set before it.
        budget: How long its training is watched.
    """

    def __init__(
        self, script: str, arguments: Sequence[str], precision: str | None, budget: Budget
    ) -> None:
        self.folder = Path.cwd()
        self._environment = dict(os.environ)
        self._budget = budget
        self._asked = {"script": script, "arguments": list(arguments), "precision": precision}

    def __call__(self, texts: Texts, steps: int, seconds: float) -> Answer:
        """Diagnoses the script.

        Args:
            texts: What its files are taken to hold.
            steps: Steps that must be watched before nothing can be called wrong. Where there are
                more, `LONGER` times as many are watched.
            seconds: Limit for all of it.
        """
        with tempfile.TemporaryDirectory() as folder:
            request, reply = Path(folder, "request.json"), Path(folder, "reply.json")
            budget = {"steps": LONGER * steps, "seconds": LONGER * self._budget.seconds_after(0)}
            asked = {**self._asked, "texts": dict(texts), "budget": budget, "reply": str(reply)}
            request.write_text(json.dumps(asked), encoding="utf-8")
            try:
                ran = subprocess.run(
                    [sys.executable, "-m", MODULE, str(request)],
                    cwd=self.folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Answer("undecided", f"It had not ended after {seconds:.0f} seconds.")
            if not reply.exists():
                return Answer("undecided", f"It ended with exit code {ran.returncode}.")
            return judged(json.loads(reply.read_text(encoding="utf-8")), steps)


def judged(reply: Mapping[str, Any], steps: int) -> Answer:
    """What a reply says of the changes.

    Example:

    >>> reply = {"verdict": "healthy", "explanation": "", "changes": [], "ended": True}
    >>> judged({**reply, "steps": 9}, 10).verdict, judged({**reply, "steps": 10}, 10).verdict
    ('undecided', 'fixed')
    """
    changes = tuple(SourceChange(**change) for change in reply["changes"])
    if "error" in reply:
        reason = f"The script fails with it: {reply['error']}"
        return Answer("undecided", reason, 0, changes, failed=True)
    seen = reply["steps"]
    if reply["verdict"] != "healthy":
        verdict: TrialVerdict = "undecided" if reply["verdict"] == "undecided" else "not fixed"
        return Answer(verdict, reply["explanation"], seen, changes)
    if seen < steps:
        return Answer("undecided", f"Nothing is wrong in {seen} of {steps} steps.", seen)
    lasting = reply["ended"] or seen >= LONGER * steps
    losses = tuple(reply.get("losses", ()))
    reason = f"Nothing is wrong in {seen} steps."
    return Answer("fixed", reason, seen, lasting=lasting, losses=losses)
