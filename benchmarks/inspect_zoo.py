"""Which causes of the zoo does `floatline inspect` tell without a run? Does it accuse the healthy?

Every script of tests/patients runs up to its training, one after the other in one process.

    KERAS_BACKEND=tensorflow python -m benchmarks.inspect_zoo             all scripts
    KERAS_BACKEND=jax python -m benchmarks.inspect_zoo healthy/           scripts named so
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Iterator, Sequence

import keras

from floatline.findings.configured.note import ConfigurationNote
from floatline.scripts import inspect_script
from tests.patients.cases import TRUTHS
from tests.patients.clinic import clear
from tests.patients.truth import Truth


def told(truth: Truth) -> tuple[ConfigurationNote, ...]:
    """What `floatline inspect` tells of a script, whatever the script itself prints or warns of."""
    clear()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            found = inspect_script(str(truth.path), (), precision=None, batch_size=32)
        return tuple(note for one in found for note in one.configuration)
    finally:
        clear()


def row(truth: Truth, notes: Sequence[ConfigurationNote]) -> str:
    """The true causes beside each note with its line, marked where these are the true ones."""
    said = [_said(truth, note) for note in notes if note.grade != "advice"]
    true = " or ".join(truth.causes) or truth.verdict
    return f"| {truth.script} | {true} | {'; '.join(said)} |"


def _said(truth: Truth, note: ConfigurationNote) -> str:
    line = "" if note.source is None else f", line {note.source.line}"
    right = note.cause in truth.causes
    there = right and note.source is not None and note.source.line in truth.lines
    mark = " (right, at the marked line)" if there else " (right)" if right else ""
    return f"{note.grade}: {note.cause}{line}{mark}"


def counted(shown: Sequence[tuple[Truth, tuple[ConfigurationNote, ...]]]) -> Iterator[str]:
    """How many scripts of each kind are told what, as the lines of a table."""
    yield "| scripts | number | right cause as wrong | right cause as a risk | any other wrong |"
    yield "|---|---|---|---|---|"
    for verdict in ("precision", "not-precision", "healthy"):
        kind = [(truth, notes) for truth, notes in shown if truth.verdict == verdict]
        wrong = sum(any(_is(n, t, "wrong") for n in notes) for t, notes in kind)
        risk = sum(
            any(_is(n, t, "risk") for n in notes) and not any(_is(n, t, "wrong") for n in notes)
            for t, notes in kind
        )
        other = sum(
            any(n.grade == "wrong" and n.cause not in t.causes for n in notes) for t, notes in kind
        )
        yield f"| {verdict} | {len(kind)} | {wrong} | {risk} | {other} |"


def _is(note: ConfigurationNote, truth: Truth, grade: str) -> bool:
    return note.grade == grade and note.cause in truth.causes


def main(parts: Sequence[str]) -> None:
    """Prints the tables."""
    backend = keras.backend.backend()
    usable = [truth.on(backend) for truth in TRUTHS if backend in truth.backends]
    asked = [t for t in usable if not parts or any(part in t.script for part in parts)]
    shown = []
    began = time.monotonic()
    for truth in asked:
        print(truth.script, file=sys.stderr)
        shown.append((truth, told(truth)))
    print(f"{len(shown)} scripts, {time.monotonic() - began:.0f} s\n")
    print("\n".join(counted(shown)))
    print("\n| script | true | told without a run |\n|---|---|---|")
    for truth, notes in shown:
        if any(note.grade != "advice" for note in notes):
            print(row(truth, notes))


if __name__ == "__main__":
    main(sys.argv[1:])
