"""The float line of one phase as a picture of its own, for where no script runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import vl_convert

from floatline.records import Diagnosis
from floatline.report.html.frame import Spec, in_light
from floatline.report.html.line_chart import HEAD
from floatline.report.html.line_chart import float_line as drawing
from floatline.report.html.rows import PHASES, float_line

MAX_ROWS = 60
"""Layers in a picture: beyond that nobody can read it."""

_WIDTH, _LEFT, _ROW = 760, 230, 30


def pictures(diagnosis: Diagnosis) -> Iterator[tuple[int, str, bytes]]:
    """Step, phase and PNG image, on white, for each phase of each trace that measured anything."""
    line = float_line(diagnosis)
    for trace, drawn in zip(diagnosis.evidence.traces, line["traces"], strict=True):
        for phase in PHASES:
            rows = drawn["phases"][phase]["rows"][:MAX_ROWS]
            if rows:
                spec = _spec(line, rows, drawn["format"] or "float16")
                yield trace.step, phase, vl_convert.vega_to_png(spec, scale=1.5)


def _spec(line: dict[str, Any], rows: list[dict[str, Any]], name: str) -> Spec:
    spec = drawing(line["domain"], in_light)
    height = HEAD + _ROW * len(rows)
    borders = {key: line["formats"][name][key] for key in ("flushed", "normal", "saturated")}
    given = {"width": _WIDTH, "height": height, **borders}
    windows = [
        {**window, "row": row, "chosen": key == name}
        for row, (key, window) in enumerate(line["formats"].items())
    ]
    data = {
        "bars": [
            bar for number, row in enumerate(rows, 1) for bar in _bars(row, _ROW * number, name)
        ],
        "lines": [{"y": _ROW * n, "label": row["label"]} for n, row in enumerate(rows, 1)],
        "windows": windows,
    }
    return {
        **spec,
        "background": in_light("panel"),
        "padding": {"left": _LEFT, "right": 12, "top": 8, "bottom": 8},
        "signals": [
            {**signal, "value": given.get(signal["name"], signal["value"])}
            for signal in spec["signals"]
            if signal["name"] not in ("width", "height")
        ],
        "width": _WIDTH,
        "height": height,
        "data": [{"name": key, "values": values} for key, values in data.items()],
        "marks": [*spec["marks"], _labels()],
    }


def _bars(row: dict[str, Any], y: float, name: str) -> list[dict[str, Any]]:
    """The bars of a row, pale where it is not computed in the format."""
    most = max(row["counts"], default=1)
    heights = {e: (count / most) ** 0.5 for e, count in enumerate(row["counts"], row["first"])}
    return [
        {"e": e, "y": y, "h": max(1.5, (_ROW - 4) * height), "real": name in row["dtypes"]}
        for e, height in heights.items()
        if height
    ]


def _labels() -> Spec:
    return {
        "type": "text",
        "from": {"data": "lines"},
        "encode": {
            "update": {
                "text": {"field": "label"},
                "x": {"value": -10},
                "y": {"signal": f"head + datum.y - {_ROW // 2}"},
                "align": {"value": "right"},
                "baseline": {"value": "middle"},
                "limit": {"value": _LEFT - 20},
                "font": {"value": "sans-serif"},
                "fontSize": {"value": 12},
                "fill": {"value": in_light("ink")},
            }
        },
    }
