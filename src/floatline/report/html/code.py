"""The user's code, each line with the magnitudes that it made, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from floatline.findings.summaries import summaries, together
from floatline.records import Diagnosis, SourceText, Statistics, Trace
from floatline.report.numbers import exponent, plain

CONTEXT = 2
"""Lines shown before and after an annotated one."""

SCALE = (-40, 24)
"""Powers of two at the ends of the small bars."""

Key = tuple[str, int]


def annotated(diagnosis: Diagnosis, trace: Trace | None) -> list[dict[str, Any]]:
    """Each file in hunks of lines around those that the traced step ran."""
    measured = {} if trace is None else _measured(trace)
    marks = _marks(diagnosis)
    shown = [_file(text, measured, marks) for text in diagnosis.sources]
    return [file for file in shown if file["hunks"]]


def snippet(diagnosis: Diagnosis, file: str, line: int) -> list[dict[str, Any]]:
    """A line with its neighbours, for a finding; empty when the text is not known."""
    for text in diagnosis.sources:
        if text.file == file and line in text.lines:
            near = range(line - CONTEXT, line + CONTEXT + 1)
            return [_plain_line(text, n, n == line) for n in near if n in text.lines]
    return []


def _plain_line(text: SourceText, number: int, decisive: bool) -> dict[str, Any]:
    return {"number": number, "text": text.lines[number], "decisive": decisive}


def _measured(trace: Trace) -> Mapping[Key, Mapping[str, Statistics]]:
    parts: dict[Key, dict[str, list[Statistics]]] = {}
    for summary in summaries(trace):
        if summary.source is not None and summary.role == "value":
            key = (summary.source.file, summary.source.line)
            parts.setdefault(key, {}).setdefault(summary.phase, []).append(summary.statistics)
    return {
        key: {phase: together(found) for phase, found in phases.items()}
        for key, phases in parts.items()
    }


def _marks(diagnosis: Diagnosis) -> Mapping[Key, list[int]]:
    """Numbers of the findings at each line."""
    marks: dict[Key, list[int]] = {}
    failures = [finding for finding in diagnosis.findings if finding.severity == "failure"]
    for number, finding in enumerate(failures, start=1):
        source = finding.place.source if finding.place else None
        if source is not None:
            marks.setdefault((source.file, source.line), []).append(number)
    return marks


def _file(
    text: SourceText,
    measured: Mapping[Key, Mapping[str, Statistics]],
    marks: Mapping[Key, list[int]],
) -> dict[str, Any]:
    wanted = sorted(number for number in text.lines if (text.file, number) in {**measured, **marks})
    hunks = [
        [_line(text, n, measured.get((text.file, n), {}), marks.get((text.file, n), [])) for n in h]
        for h in _hunks(wanted, text.lines)
    ]
    return {"file": text.file, "hunks": hunks}


def _hunks(wanted: Sequence[int], known: Mapping[int, str]) -> Iterator[list[int]]:
    near = sorted({n for w in wanted for n in range(w - CONTEXT, w + CONTEXT + 1) if n in known})
    hunk: list[int] = []
    for number in near:
        if hunk and number > hunk[-1] + 1:
            yield hunk
            hunk = []
        hunk.append(number)
    if hunk:
        yield hunk


def _line(
    text: SourceText, number: int, phases: Mapping[str, Statistics], findings: list[int]
) -> dict[str, Any]:
    return {
        **_plain_line(text, number, bool(findings)),
        "findings": findings,
        "forward": _range(phases.get("forward")),
        "backward": _range(phases.get("backward")),
    }


def _range(statistics: Statistics | None) -> dict[str, Any] | None:
    """The magnitudes of a line as words, and as a bar in percent of the scale."""
    high = exponent(statistics.max_abs) if statistics else None
    if statistics is None or high is None:
        return None
    smallest = exponent(statistics.min_abs_nonzero)
    low = high if smallest is None else smallest
    start, end = _percent(low), _percent(high)
    bad = {
        "overflow": statistics.saturated,
        "NaN": statistics.poisoned,
        "flushed": statistics.flushed,
    }
    return {
        "words": f"2^{round(low)} … 2^{round(high)}",
        "start": round(start, 1),
        "width": round(max(1.0, end - start), 1),
        "bad": ", ".join(f"{plain(count)} {what}" for what, count in bad.items() if count),
        "state": "deck"
        if statistics.saturated or statistics.poisoned
        else "water"
        if statistics.flushed
        else "afloat",
    }


def _percent(power: float) -> float:
    low, high = SCALE
    return 100.0 * min(1.0, max(0.0, (power - low) / (high - low)))
