"""Holds what a tool said about a script against what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.zoo.runs import Run
from tests.patients.truth import Truth

SICK = ("precision", "not-precision")


@dataclass(frozen=True, slots=True)
class Score:
    """One answer, judged.

    Attributes:
        truth: What is true.
        run: What was said.
        said: The answer in few words.
        alarm: Whether the tool said that something is wrong.
        verdict: Whether it said right away whether the precision is to blame; None for tools
            that do not say.
        cause: Whether a true root cause is named first; None for tools that name none.
        place: Whether the right place is named; None where the truth knows no place.
        repair: Verdict of the repair, and whether it lasted; None when there was none.
    """

    truth: Truth
    run: Run
    said: str
    alarm: bool
    verdict: bool | None
    cause: bool | None
    place: bool | None
    repair: dict[str, Any] | None

    @property
    def proven(self) -> bool:
        """Whether a repair was proven, the longer training included."""
        found = self.repair or {}
        return found.get("verdict") == "fixed" and found.get("lasting") is True


def scored(run: Run, truth: Truth) -> Score:
    """Judges one answer."""
    return _floatline(run, truth) if run.tool == "floatline" else _peer(run, truth)


def _floatline(run: Run, truth: Truth) -> Score:
    answer = run.answer
    verdict = answer.get("verdict", "no answer")
    failures = (f for f in answer.get("findings", ()) if f.get("severity") == "failure")
    first: dict[str, Any] = next(failures, {})
    place = f" ({first['layer'] or '-'}, {first['line'] or '-'})" if first else ""
    return Score(
        truth,
        run,
        f"{verdict}{': ' if first else ''}{first.get('cause', '')}{place}",
        alarm=verdict in SICK,
        verdict=verdict == truth.verdict,
        cause=first.get("cause") in truth.causes if truth.causes else not first,
        place=_floatline_place(first, truth),
        repair=answer.get("repair"),
    )


def _floatline_place(first: dict[str, Any], truth: Truth) -> bool | None:
    """Layer and line of the first finding: each that is known must be right."""
    if not (truth.layers or truth.lines):
        return None
    layer = not truth.layers or (first.get("layer") or "") in truth.layers
    line = not truth.lines or first.get("line") in truth.lines
    return bool(first) and layer and line


def _peer(run: Run, truth: Truth) -> Score:
    answer = run.answer
    detected = bool(answer.get("detected"))
    if not answer:
        said = "no answer in time" if run.status is None else "ended without an answer"
    elif answer["failed"]:
        said = f"failed: {answer['error'].strip().splitlines()[-1][:60]}"
    else:
        said = "reports" if detected else "says nothing"
    return Score(
        truth,
        run,
        said,
        alarm=detected,
        verdict=None,
        cause=None,
        place=_peer_place(answer, truth) if detected else _known(truth),
        repair=None,
    )


def _peer_place(answer: dict[str, Any], truth: Truth) -> bool | None:
    """Generous: a true line anywhere in what it says, or a true layer in an operation's name."""
    if not (truth.layers or truth.lines):
        return None
    line = any(line in truth.lines for line in answer["lines"])
    layer = any(layer and f"/{layer}" in answer["words"] for layer in truth.layers)
    return line or (layer and not truth.lines)


def _known(truth: Truth) -> bool | None:
    """A tool that says nothing names no place, where there is one to name."""
    return False if truth.layers or truth.lines else None
