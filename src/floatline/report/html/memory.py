"""Dtypes and bytes by layer: as configured, and as the traced step moved them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from floatline.findings.summaries import summaries
from floatline.formats import FORMATS
from floatline.records import Configuration, Summary, Trace
from floatline.report.inspection import in_bytes

MAX_LAYERS = 300
"""Rows of the table; the sums count every layer."""


def table(configuration: Configuration, trace: Trace | None) -> dict[str, Any]:
    """A row per layer, sums at the end."""
    found = () if trace is None else summaries(trace)
    weights = _by_layer([s for s in found if s.role == "parameter" and s.phase == "forward"])
    values = {
        phase: _by_layer([s for s in found if s.role == "value" and s.phase == phase])
        for phase in ("forward", "backward")
    }
    rows = [
        {
            "path": layer.path,
            "kind": layer.layer_class,
            "computes": layer.compute_dtype,
            "keeps": layer.variable_dtype,
            "weights": _shown(weights[layer.path]),
            "forward": _shown(values["forward"][layer.path]),
            "backward": _shown(values["backward"][layer.path]),
        }
        for layer in configuration.layers
    ]
    return {
        "rows": rows[:MAX_LAYERS],
        "hidden": max(0, len(rows) - MAX_LAYERS),
        "dtypes": _by_dtype([s for s in found if s.role == "value"]),
    }


def _bytes(summary: Summary) -> int:
    form = FORMATS.get(summary.dtype)
    return summary.statistics.count * (form.bits // 8 if form else 4)


def _by_layer(found: list[Summary]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for summary in found:
        sums[summary.layer or ""] += _bytes(summary)
    return sums


def _by_dtype(found: list[Summary]) -> list[dict[str, str]]:
    """Bytes of all computed values, by dtype and phase, most first."""
    sums: Counter[tuple[str, str]] = Counter()
    for summary in found:
        sums[summary.phase, summary.dtype] += _bytes(summary)
    return [
        {"phase": phase, "dtype": dtype, "bytes": in_bytes(count)}
        for (phase, dtype), count in sums.most_common()
    ]


def _shown(count: int) -> str:
    return in_bytes(count) if count else "-"
