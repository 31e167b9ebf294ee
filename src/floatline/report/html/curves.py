"""Loss curves beside float32's band: what to draw, and what to say to those who do not see it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from floatline.records import Diagnosis, Reference, StepRecord
from floatline.repairs import Trial
from floatline.report.numbers import exponent, plain

MAX_POINTS = 600
"""Points of a curve; a longer training is thinned to every n-th step."""

_LOGARITHMIC_FROM = 30.0
"""Largest over smallest loss from which the axis is logarithmic."""

Losses = Sequence[float | None]


def training(diagnosis: Diagnosis) -> dict[str, Any] | None:
    """The watched training and float32's; None when no loss is known."""
    evidence = diagnosis.evidence
    steps = evidence.history.steps
    lines = [_line("this training", _losses(steps), "own", 2)]
    lines += _reference(evidence.reference)
    bad = [step.step for step in steps if step.skipped or not step.finite_gradients]
    return _chart(lines, _band(evidence.reference), bad)


def trial(one: Trial, diagnosis: Diagnosis) -> dict[str, Any] | None:
    """One trial against the float32 training that it was held against."""
    reference = diagnosis.evidence.reference
    own = _line("this trial", one.losses, "good" if one.verdict == "fixed" else "own", 2)
    if one.float32_losses:
        return _chart([own, _line("float32", one.float32_losses, "reference", 1)], [], [])
    return _chart([own, *_reference(reference)], _band(reference), [])


def scales(diagnosis: Diagnosis) -> dict[str, Any] | None:
    """The loss scale over the training, as a power of two; None when it never changed."""
    found = [step.loss_scale for step in diagnosis.evidence.history.steps]
    powers = [exponent(scale) for scale in found]
    if len(set(powers)) < 2:
        return None
    return _chart([_line("loss scale", powers, "ink", 2)], [], [])


def _losses(steps: Sequence[StepRecord]) -> Losses:
    return [step.loss for step in steps]


def _line(name: str, losses: Losses, colour: str, width: int) -> dict[str, Any]:
    finite = [loss if loss is not None and math.isfinite(loss) else None for loss in losses]
    return {"name": name, "losses": finite, "colour": colour, "width": width}


def _reference(reference: Reference | None) -> Iterator[dict[str, Any]]:
    if reference is None:
        return
    yield _line("float32", _losses(reference.steps), "reference", 2)
    if reference.rebuilt:
        yield _line("float32, built anew", _losses(reference.rebuilt), "muted", 1)


def _band(reference: Reference | None) -> list[dict[str, float]]:
    """Between float32 and float32 from rounded weights: its own noise."""
    if reference is None:
        return []
    found = []
    for one, other in zip(reference.steps, reference.perturbed, strict=False):
        ends = [v for v in (one.loss, other.loss) if v is not None and math.isfinite(v)]
        if len(ends) == 2:
            found.append({"step": one.step, "low": min(ends), "high": max(ends)})
    return found


def _chart(
    lines: Sequence[dict[str, Any]], band: list[dict[str, float]], bad: list[int]
) -> dict[str, Any] | None:
    points = [
        {"name": line["name"], "step": step, "value": loss, **_style(line)}
        for line in lines
        for step, loss in _thinned(line["losses"])
    ]
    if not points:
        return None
    return {
        "lines": points,
        "band": band[:: _stride(len(band))],
        "marks": [{"step": step} for step in bad],
        "kind": "log" if _spans([point["value"] for point in points]) else "linear",
        "legend": [{"name": _called(line), "colour": line["colour"]} for line in lines],
        "words": "; ".join(_words(line) for line in lines),
    }


def _style(line: dict[str, Any]) -> dict[str, Any]:
    dash = [4, 3] if line["colour"] == "muted" else []
    return {"colour": line["colour"], "width": line["width"], "dash": dash}


def _thinned(losses: Losses) -> list[tuple[int, float]]:
    kept = list(enumerate(losses))[:: _stride(len(losses))]
    return [(step, loss) for step, loss in kept if loss is not None]


def _stride(length: int) -> int:
    return max(1, math.ceil(length / MAX_POINTS))


def _spans(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= _LOGARITHMIC_FROM


def _called(line: dict[str, Any]) -> str:
    finite = any(loss is not None for loss in line["losses"])
    return str(line["name"]) if finite else f"{line['name']}: never finite"


def _words(line: dict[str, Any]) -> str:
    finite = [loss for loss in line["losses"] if loss is not None]
    if not finite:
        return _called(line)
    return f"{line['name']}: from {plain(finite[0])} to {plain(finite[-1])}"
