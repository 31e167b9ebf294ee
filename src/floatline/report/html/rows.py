"""The rows of the float line: for each layer the exponents of its float32 shadow, by phase."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from floatline.findings.summaries import summaries, together
from floatline.findings.window import (
    SCALE_EXPONENTS,
    lost_at_every_scale,
    low_format,
    scale_of,
    window,
    zones,
)
from floatline.formats import FORMATS
from floatline.records import Diagnosis, Site, Statistics, Summary, Trace
from floatline.report.numbers import exponent, plain

SHOWN_FORMATS = ("float16", "bfloat16", "float8_e5m2", "float8_e4m3fn")
"""Formats whose windows are drawn; their names for people are in `FORMAT_NAMES`."""

FORMAT_NAMES: Mapping[str, str] = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float8_e5m2": "float8 e5m2",
    "float8_e4m3fn": "float8 e4m3",
}

PHASES = ("forward", "backward", "update")
NO_LAYER = {"forward": "inputs and loss", "backward": "loss and others", "update": "optimizer"}

MAX_ROWS = 250
"""Layers that are drawn per phase: more would be slow on a phone, and nobody would look."""

MAX_OPERATIONS = 40
"""Operations that are drawn per layer and phase, the largest losses first."""

LEAST_DOMAIN, GREATEST_DOMAIN = (-30, 18), (-46, 40)
"""Powers of two that the axis always shows, and those beyond which it shows nothing."""


def float_line(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything that the picture needs, as plain values for the page's script."""
    traces = diagnosis.evidence.traces
    return {
        "traces": [_trace(trace) for trace in traces],
        "chosen": chosen_trace(diagnosis),
        "formats": {name: _format(name) for name in SHOWN_FORMATS},
        "phase": _phase(diagnosis),
        "domain": _domain(traces),
        "scales": list(SCALE_EXPONENTS),
    }


def chosen_trace(diagnosis: Diagnosis) -> int:
    """The trace to show first: that of the first finding, else the last."""
    traces = diagnosis.evidence.traces
    steps = [f.evidence.get("step") for f in diagnosis.findings if f.severity == "failure"]
    for position, trace in enumerate(traces):
        if steps and trace.step == steps[0]:
            return position
    return max(0, len(traces) - 1)


def _phase(diagnosis: Diagnosis) -> str:
    phases = [f.phase for f in diagnosis.findings if f.severity == "failure"]
    return next((phase for phase in phases if phase in PHASES[:2]), "backward")


def _format(name: str) -> dict[str, Any]:
    borders = zones(FORMATS[name])
    return {
        "name": FORMAT_NAMES[name],
        "flushed": borders.flushed_below,
        "normal": borders.normal_from,
        "saturated": borders.saturated_from,
    }


def _trace(trace: Trace) -> dict[str, Any]:
    return {
        "title": f"step {trace.step} ({trace.moment})",
        "scale": math.log2(scale_of(trace)),
        "scaled": trace.loss_scale is not None,
        "format": low_format(trace),
        "left_out": trace.left_out,
        "phases": {phase: _rows(trace, phase) for phase in PHASES},
        "lost": {name: _lost(trace, name) for name in SHOWN_FORMATS},
    }


def _lost(trace: Trace, name: str) -> dict[str, Any]:
    found, losses = window(trace, name), lost_at_every_scale(trace, name)
    return {
        "flushed": [round(lost.flushed, 5) for lost in losses],
        "saturated": [round(lost.saturated, 5) for lost in losses],
        "low": exponent(found.low),
        "high": exponent(found.high),
        "needs_more": _where(found.needs_more) if found.needs_more else None,
        "needs_less": _where(found.needs_less) if found.needs_less else None,
    }


def _where(site: Site) -> str:
    return f"{site.place.operation} in {site.place.layer or 'no layer'}"


def _rows(trace: Trace, phase: str) -> dict[str, Any]:
    layers: dict[str | None, list[Summary]] = {}
    for summary in summaries(trace):
        if summary.phase == phase and _drawn(summary):
            layers.setdefault(summary.layer, []).append(summary)
    operations: dict[str | None, list[Site]] = {}
    for site in trace.sites:
        if site.place.phase == phase and _drawn(site):
            operations.setdefault(site.place.layer, []).append(site)
    rows = [_row(layer, phase, found, operations.get(layer, [])) for layer, found in layers.items()]
    worst = sorted(range(len(rows)), key=lambda i: (-_lost_elements(layers, i), i))[:MAX_ROWS]
    return {"rows": [rows[i] for i in sorted(worst)], "hidden": len(rows) - len(worst)}


def _drawn(found: Site | Summary) -> bool:
    """Whether there is something to draw: floats with magnitudes, or lost altogether."""
    statistics = found.statistics
    return found.dtype in FORMATS and bool(statistics.exponents or statistics.nonfinite)


def _lost_elements(layers: Mapping[str | None, list[Summary]], position: int) -> int:
    found = list(layers.values())[position]
    return sum(s.statistics.saturated + s.statistics.flushed for s in found)


def _row(
    layer: str | None, phase: str, found: Sequence[Summary], sites: Sequence[Site]
) -> dict[str, Any]:
    measured = together([summary.statistics for summary in found])
    dtypes = ", ".join(sorted({summary.dtype for summary in found}))
    kind = next((f"{s.layer_class}, {dtypes}" for s in found if s.layer_class), dtypes)
    shown = sorted(sites, key=_harm, reverse=True)[:MAX_OPERATIONS]
    return {
        "label": layer or NO_LAYER[phase],
        "kind": kind,
        "dtypes": dtypes,
        **_measured(measured),
        "operations": [_operation(site) for site in sorted(shown, key=lambda s: s.index)],
        "more": sum(summary.sites for summary in found) - len(shown),
    }


def _harm(site: Site) -> tuple[int, int]:
    numbers = site.statistics
    return numbers.local_saturated + numbers.local_flushed, numbers.saturated + numbers.flushed


def _operation(site: Site) -> dict[str, Any]:
    shape = " x ".join("?" if size is None else f"{size}" for size in site.shape)
    names = {"parameter": site.variable, "constant": "constant", "input": "input"}
    return {
        "label": names.get(site.role) or site.place.operation,
        "kind": shape or "scalar",
        "dtypes": site.dtype,
        **_measured(site.statistics),
    }


def _measured(statistics: Statistics) -> dict[str, Any]:
    exponents = statistics.exponents
    first, last = (min(exponents), max(exponents)) if exponents else (0, -1)
    return {
        "first": first,
        "counts": [exponents.get(e, 0) for e in range(first, last + 1)],
        "infinite": statistics.nonfinite,
        "elements": plain(statistics.count),
        "lost": _words(statistics),
    }


def _words(statistics: Statistics) -> str:
    """What this step really lost, in words; empty when nothing."""
    parts = {
        "overflowed": statistics.saturated,
        "turned NaN": statistics.poisoned,
        "flushed to 0": statistics.flushed,
        "subnormal": statistics.subnormal,
    }
    return ", ".join(f"{plain(count)} {what}" for what, count in parts.items() if count)


def _domain(traces: Iterable[Trace]) -> list[int]:
    found = [e for trace in traces for s in summaries(trace) for e in s.statistics.exponents]
    low = min([LEAST_DOMAIN[0], *(e - 1 for e in found)])
    high = max([LEAST_DOMAIN[1], *(e + 2 for e in found)])
    return [max(low, GREATEST_DOMAIN[0]), min(high, GREATEST_DOMAIN[1])]
