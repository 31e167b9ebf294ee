"""Keeps finished trials in a file, so that an interrupted search goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from floatline.errors import InputError
from floatline.precision.plan import Plan
from floatline.records import Configuration, StepRecord
from floatline.repairs import Trial

SCHEMA_VERSION = 1

DECISIVE_LOSSES = 20
"""Losses of the watched training by which it is recognised."""

_LISTS = ("remedies", "losses", "float32_losses")
_KEPT = (*_LISTS, "verdict", "reason", "steps", "skipped", "loss", "float32_loss", "seconds")


class Journal:
    """Trials of one training, a line of JSON each; another training starts a new file.

    Args:
        file: Where; its folder exists. None keeps nothing.
        training: What `fingerprint` says of the training.
        steps: Steps of one trial. A journal of the same training with fewer steps keeps its own
            number, so that its trials still count.

    Raises:
        InputError: The file holds something else, which is left alone, or cannot be written.
    """

    def __init__(self, file: Path | None, training: str, steps: int) -> None:
        self._file = file
        self.steps = steps
        self.reused = 0
        self._known: dict[tuple[tuple[str, ...], int], dict[str, Any]] = {}
        if file is None:
            return
        head, *rows = _lines(file) or [{}]
        if head.get("training") == training and head["steps"] <= steps:
            self.steps = head["steps"]
            self._known = {(tuple(row["remedies"]), row["steps"]): row for row in rows}
        else:
            head = {"schema_version": SCHEMA_VERSION, "training": training, "steps": steps}
            _write(file, head, "w")

    def recall(self, remedies: tuple[str, ...], steps: int, plan: Plan) -> Trial | None:
        """The trial of an earlier run, if it was finished then."""
        row = self._known.get((remedies, steps))
        if row is None:
            return None
        self.reused += 1
        return Trial(**{**row, **{name: tuple(row[name]) for name in _LISTS}}, plan=plan)

    def keep(self, trial: Trial) -> None:
        """Writes a trial down, unless it decided nothing and is worth another try."""
        if self._file is None or trial.verdict == "undecided":
            return
        _write(self._file, {name: getattr(trial, name) for name in _KEPT}, "a")

    def finish(self) -> None:
        """Removes the file: the search has come to its end."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def fingerprint(
    configuration: Configuration, steps: Sequence[StepRecord], remedies: Sequence[Sequence[str]]
) -> str:
    """Says of two runs whether they watched the same training and would try the same.

    Args:
        configuration: The training as it is set up.
        steps: What the watch saw.
        remedies: The sets of remedies that are to be tried.
    """
    losses = [step.loss for step in steps[:DECISIVE_LOSSES]]
    # Lines of the script may have moved, which changes nothing.
    layers = tuple(dataclasses.replace(layer, source=None) for layer in configuration.layers)
    configuration = dataclasses.replace(configuration, layers=layers, source=None)
    told = repr((configuration, losses, [tuple(group) for group in remedies]))
    return hashlib.sha256(told.encode()).hexdigest()


def _write(file: Path, row: dict[str, Any], mode: str) -> None:
    try:
        with file.open(mode, encoding="utf-8") as stream:
            stream.write(f"{json.dumps(row)}\n")
    except OSError as error:
        raise InputError(
            f"Finished trials cannot be kept in {file}: {error.strerror}.",
            "Choose a folder that exists and can be written, with room on its disk.",
        ) from error


def _lines(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number == 0:
                break
            return rows  # The last line of an interrupted run may be half a line.
    if not rows or rows[0].get("schema_version") != SCHEMA_VERSION or "training" not in rows[0]:
        raise InputError(
            f"{file} is where finished trials are kept, but it holds something else.",
            "Move it away, or choose another name for the plan.",
        )
    return rows
