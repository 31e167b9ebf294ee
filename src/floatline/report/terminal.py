"""The diagnosis for a terminal: complete without colour, at home in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from floatline.findings.gradients import LayerGradient, most_flushed
from floatline.records import Check, Diagnosis, Environment, Finding, Verdict
from floatline.report import layout, numbers, repair, training
from floatline.report.places import layer_of, library_line, line_of, quoted

HEADLINES: Mapping[Verdict, str] = {
    "healthy": "Healthy: nothing is wrong with the precision.",
    "precision": "The precision is at fault.",
    "not-precision": "The precision is not at fault: float32 fails in the same way.",
    "undecided": "Undecided: the measurements do not tell whether the precision is at fault.",
}

HEALTHY_HERE = "Healthy on this machine; a GPU would compute parts of it in 16 bits."
"""Where a GPU would compute in another precision than this machine does."""

_STYLES: Mapping[Verdict, str] = {
    "healthy": "bold green",
    "precision": "bold red",
    "not-precision": "bold yellow",
    "undecided": "bold yellow",
}

_WIDEST = 100
"""Prose is hard to read across a wider window."""

_SHOWN_SHARE = 0.01
"""Flushed shares below this are rounding in the tail and get no table."""


def console(file: TextIO, *, colour: bool = True) -> Console:
    """A console that takes every text literally.

    Args:
        file: Where it writes; 80 columns wide when it is not a terminal.
        colour: Whether to colour, where the terminal can and the variable NO_COLOR is not set.
    """
    no_color = None if colour else True  # None: rich asks the variable.
    made = Console(file=file, no_color=no_color, highlight=False, markup=False, emoji=False)
    made.width = min(made.width, _WIDEST)
    return made


def show(content: RenderableType, on: Console) -> None:
    """Prints; on anything but a terminal without the blanks that rich fills lines up with."""
    if on.is_terminal:
        on.print(content)
        return
    with on.capture() as captured:
        on.print(content)
    lines = captured.get().splitlines()
    on.file.write("".join(f"{line.rstrip()}\n" for line in lines))


def render(diagnosis: Diagnosis, base: Path | None = None) -> Group:
    """Everything a person is told, most important first.

    Args:
        diagnosis: The whole answer.
        base: Files below this folder are named relative to it; the working folder if None.
    """
    base = base or Path.cwd()
    failures = [finding for finding in diagnosis.findings if finding.severity == "failure"]
    advice = [finding for finding in diagnosis.findings if finding.severity == "advice"]
    parts: list[RenderableType] = [headline(diagnosis)]
    parts += [_finding(number, found, base) for number, found in enumerate(failures, start=1)]
    if failures:
        parts += _flushed(diagnosis)
    parts += repair.sections(diagnosis.repair, base)
    parts += training.sections(diagnosis, base)
    parts += _checks(diagnosis.checks)
    if diagnosis.notes:
        parts.append(layout.section("Notes", [layout.bullet(note) for note in diagnosis.notes]))
    parts.append(_origin_of_numbers(diagnosis.environment, diagnosis.command))
    parts += [_advice(found, base) for found in advice]
    return Group(*layout.spaced(parts))


def headline_text(diagnosis: Diagnosis) -> str:
    """The verdict in one sentence; it is no clean bill for other machines than it was made on."""
    widened = any(trace.widened for trace in diagnosis.evidence.traces)
    if diagnosis.verdict == "healthy" and widened:
        return HEALTHY_HERE
    return HEADLINES[diagnosis.verdict]


def headline(diagnosis: Diagnosis) -> Group:
    """The verdict and why, in a few sentences."""
    return Group(
        Text(headline_text(diagnosis), style=_STYLES[diagnosis.verdict]),
        Text(diagnosis.explanation),
    )


def _finding(number: int, finding: Finding, base: Path) -> Group:
    return Group(
        Text(f"{number}. {finding.rule} {finding.cause}", style="bold"),
        layout.indented(_whereabouts(finding, base)),
        Text(""),
        layout.indented(Group(*_body(finding))),
    )


def _advice(finding: Finding, base: Path) -> Group:
    parts: list[RenderableType] = [
        Text(f"Advice: {finding.rule} {finding.cause}", style="bold cyan")
    ]
    if finding.place is not None:
        parts += [layout.indented(_whereabouts(finding, base)), Text("")]
    return Group(*parts, layout.indented(Group(*_body(finding))))


def _whereabouts(finding: Finding, base: Path) -> Group:
    """Phase, layer, operation and both lines."""
    place = finding.place
    if place is None:
        return Group(Text(f"found in the {finding.phase}"))
    lines: list[RenderableType] = [
        Text(f"{finding.phase}, {layer_of(place)}, operation {place.operation}")
    ]
    if place.source is not None:
        lines.append(Text(f"at {line_of(place.source, base)}"))
        text = quoted(place.source, base)
        if text is not None:
            lines.append(layout.quote(text))
    if place.library is not None:
        lines.append(Text(f"in {library_line(place.library, base)}", style="dim"))
    return Group(*lines)


def _body(finding: Finding) -> Iterator[RenderableType]:
    yield Text(finding.summary)
    if finding.evidence:
        rows = [
            (numbers.label(name), numbers.evidence(name, value))
            for name, value in finding.evidence.items()
        ]
        yield Padding(layout.pairs(rows), (1, 0, 0, 0))
    if finding.propagation:
        passed = numbers.counted(finding.propagation, "later operation")
        yield Padding(Text(f"Passed on by {passed}, not listed."), (1, 0, 0, 0))
    if finding.remedies:
        yield Padding(Text("What to do", style="bold"), (1, 0, 0, 0))
        yield from (layout.bullet(remedy) for remedy in finding.remedies)


def _flushed(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    """The share of each layer's gradients that became zero, where that is worth a table."""
    table = most_flushed(diagnosis.evidence.traces)
    if table is None:
        return
    trace, layers = table
    if max(layer.lost for layer in layers) < _SHOWN_SHARE:
        return
    title = f"Gradients flushed to zero, by layer (step {trace.step})"
    header = ("layer", "flushed", "elements that float32 has nonzero")
    yield layout.section(title, [layout.columns(header, [_row(layer) for layer in layers])])


def _row(layer: LayerGradient) -> tuple[str, str, str]:
    return (
        layer.layer,
        numbers.share(layer.lost) if layer.nonzero else "-",
        f"{layer.nonzero:,} of {layer.elements:,}",
    )


def _checks(
    checks: tuple[Check, ...],
) -> Iterator[RenderableType]:
    """How many rules are clear, and what nobody can tell."""
    if not checks:
        return
    clear = [check for check in checks if check.verdict == "clear"]
    unknown = [check for check in checks if check.verdict == "cannot tell"]
    counted = numbers.counted(len(clear), "rule")
    lines: list[RenderableType] = [Text(f"{counted} clear; `floatline rules` lists them.")]
    if unknown:
        lines.append(Text(f"{numbers.counted(len(unknown), 'rule')} cannot tell:"))
        rows = [(check.rule, check.missing or "a measurement is missing") for check in unknown]
        lines.append(layout.pairs(rows))
    yield layout.section("What was checked", lines)


def _origin_of_numbers(environment: Environment, command: str | None) -> RenderableType:
    """Under what the numbers were measured, and how to measure them again."""
    versions = (
        f"Floatline {environment.floatline}, Keras {environment.keras}, {environment.framework}, "
        f"Python {environment.python}"
    )
    lines = [Text(versions), Text(f"Measured on {environment.device}.")]
    if command:
        lines.append(Text(f"Again: {command}"))
    return layout.section("Measured with", lines)
