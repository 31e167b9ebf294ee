"""The part of the terminal report that tells of the training under watch and the traced steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType

from floatline.records import (
    Configuration,
    Diagnosis,
    History,
    Reference,
    StepRecord,
    StopReason,
    Trace,
)
from floatline.report import layout, numbers
from floatline.report.places import line_of

APART = 0.1
"""Relative difference of two last losses from which the step that was built anew is told, too."""

_STOPPED: dict[StopReason, str] = {
    "budget": "the budget was spent",
    "symptom": "a symptom appeared",
    "end of training": "the training ended",
    "interrupted": "it was interrupted",
    "error": "a step raised an error",
}

_AGREEMENT: dict[bool | None, str] = {
    True: "the untraced step shows the same",
    False: "the untraced step shows something else",
    None: "not compared with the untraced step",
}


def sections(diagnosis: Diagnosis, base: Path) -> Iterator[RenderableType]:
    """The training, the traced steps, and what could not be traced."""
    evidence = diagnosis.evidence
    yield layout.section("Training under watch", [layout.pairs(facts(diagnosis, base))])
    if evidence.traces:
        steps = [row for trace in evidence.traces for row in traced(trace)]
        yield layout.section("Traced steps", [layout.pairs(steps)])
    missed = not_traced(evidence.traces)
    if missed:
        yield layout.section("Not traced", [layout.bullet(line) for line in missed])


def facts(diagnosis: Diagnosis, base: Path) -> list[tuple[str, str]]:
    """The training in names and values, as it is set up and as it went."""
    evidence = diagnosis.evidence
    rows = _setup(evidence.configuration, base) + _watched(evidence.history)
    return rows + (_in_float32(evidence.reference) if evidence.reference else [])


def _setup(configuration: Configuration, base: Path) -> list[tuple[str, str]]:
    place = f" at {line_of(configuration.source, base)}" if configuration.source else ""
    step = ", ".join(filter(None, [configuration.compiled, configuration.optimizer]))
    # Without Keras its policy decides nothing, and autocast regions and casts do not show in it.
    decides = configuration.layers or configuration.global_policy != "float32"
    return [
        ("started by", f"{configuration.entry}{place}"),
        *([("policy", configuration.global_policy)] if decides else []),
        ("step", step),
    ]


def _watched(history: History) -> list[tuple[str, str]]:
    steps = history.steps
    if not steps:
        return [("steps", "none")]
    stopped = f"{_STOPPED[history.stopped]} after {history.seconds:.1f} s"
    skipped = sum(step.skipped for step in steps)
    rows = [("steps", f"{len(steps):,} ({stopped})")]
    if skipped or _scales(steps):
        rows.append(("skipped", f"{numbers.counted(skipped, 'step')}, by the loss scale"))
        rows.append(("loss scale", _from_to(_scales(steps), numbers.power)))
    bad = sum(not step.finite_gradients for step in steps)
    if bad:
        rows.append(("non-finite gradients", f"in {numbers.counted(bad, 'step')}"))
    rows.append(("loss", _from_to(_losses(steps), numbers.plain)))
    return rows


def _in_float32(reference: Reference) -> list[tuple[str, str]]:
    """The losses of the same operations, and of the step built anew where it ends elsewhere."""
    runs = [("loss in float32", reference.steps)]
    same, anew = _losses(reference.steps), _losses(reference.rebuilt)
    if same and anew and not math.isclose(same[-1], anew[-1], rel_tol=APART):
        runs.append(("the same, built anew", reference.rebuilt))
    return [
        (name, f"{_from_to(_losses(run), numbers.plain)} ({numbers.counted(len(run), 'step')})")
        for name, run in runs
        if run
    ]


def traced(trace: Trace) -> Iterator[tuple[str, str]]:
    """What was traced of one step, and whether the untraced step agrees."""
    scale = "" if trace.loss_scale is None else f", loss scale {numbers.power(trace.loss_scale)}"
    measured = numbers.counted(len(trace.sites) + trace.left_out, "value")
    yield (
        f"step {trace.step} ({trace.moment})",
        f"{measured} measured{scale}; {_AGREEMENT[trace.agrees]}",
    )
    if trace.disagreement:
        yield ("", trace.disagreement)


def not_traced(traces: Sequence[Trace]) -> list[str]:
    """One line for each operation type and reason; every traced step would only repeat it."""
    counts: dict[tuple[str, str], int] = {}
    for trace in traces:
        for entry in trace.not_traced:
            key = (entry.operation, entry.reason)
            counts[key] = max(entry.count, counts.get(key, 0))
    return [f"{count} x {operation}: {reason}" for (operation, reason), count in counts.items()]


def _scales(steps: Sequence[StepRecord]) -> list[float]:
    return [step.loss_scale for step in steps if step.loss_scale is not None]


def _losses(steps: Sequence[StepRecord]) -> list[float]:
    return [step.loss for step in steps if step.loss is not None]


def _from_to(values: Sequence[float], written: Callable[[float], str]) -> str:
    if not values:
        return "not known"
    first, last = written(values[0]), written(values[-1])
    return first if first == last else f"{first} to {last}"
