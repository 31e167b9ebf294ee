"""The float line as a specification for Vega, and its picture without data."""

from __future__ import annotations

from typing import Any

from floatline.report.html.frame import POWERS, Spec, frame, in_page

HEAD = 86
"""Height of the axis and of the four windows above the rows, in pixels."""


def float_line(domain: list[int], colour: Any = in_page) -> Spec:
    """The rows of the float line; data `bars`, `lines` and `windows` are filled by who draws."""
    zone = "datum.e + shift"
    return {
        **frame(colour),
        "signals": [
            *({"name": name, "value": value} for name, value in _FLOAT_LINE_SIGNALS.items()),
            {"name": "head", "value": HEAD},
        ],
        "data": [
            {"name": "bars", "values": []},
            {"name": "lines", "values": []},
            {"name": "windows", "values": []},
        ],
        "scales": [
            {"name": "x", "type": "linear", "domain": domain, "range": [0, {"signal": "width"}]}
        ],
        "marks": [
            _zone(colour, "water-zone", domain[0], "flushed"),
            _zone(colour, "shallows-zone", "flushed", "normal"),
            _zone(colour, "deck-zone", "saturated", domain[1]),
            *_windows(colour),
            _axis(),
            {
                "type": "rect",
                "clip": True,
                "from": {"data": "lines"},
                "encode": {
                    "update": {
                        "x": {"value": 0},
                        "x2": {"signal": "width"},
                        "y": {"signal": "head + datum.y"},
                        "height": {"value": 1},
                        "fill": {"value": colour("grid")},
                    }
                },
            },
            {
                "type": "rect",
                "clip": True,
                "from": {"data": "bars"},
                "encode": {
                    "update": {
                        "x": {"signal": f"scale('x', {zone}) + 0.5"},
                        "x2": {"signal": f"scale('x', {zone} + 1) - 0.5"},
                        "y": {"signal": "head + datum.y - datum.h"},
                        "y2": {"signal": "head + datum.y"},
                        "fill": [
                            {"test": f"{zone} < flushed", "value": colour("water")},
                            {"test": f"{zone} < normal", "value": colour("shallows")},
                            {"test": f"{zone} >= saturated", "value": colour("deck")},
                            {"value": colour("afloat")},
                        ],
                        "opacity": {"signal": "datum.real ? 1 : 0.45"},
                        "tooltip": {"signal": "datum.title"},
                    }
                },
            },
        ],
    }


_FLOAT_LINE_SIGNALS = {
    "width": 600,
    "height": 100,
    "flushed": -25,
    "normal": -14,
    "saturated": 16,
    "shift": 0,
}


def _zone(colour: Any, name: str, start: str | int, end: str | int) -> Spec:
    return {
        "type": "rect",
        "clip": True,
        "encode": {
            "update": {
                "x": {"signal": f"scale('x', {start})"},
                "x2": {"signal": f"scale('x', {end})"},
                "y": {"signal": "head"},
                "y2": {"signal": "height"},
                "fill": {"value": colour(name)},
            }
        },
    }


def _windows(colour: Any) -> list[Spec]:
    """A bar per format above the rows, with its name: where it is normal, and where subnormal."""
    bars = [
        {
            "type": "rect",
            "clip": True,
            "from": {"data": "windows"},
            "encode": {
                "update": {
                    "y": {"signal": "24 + 15 * datum.row"},
                    "height": {"value": 13},
                    "opacity": {"signal": "datum.chosen ? 1 : 0.3"},
                    "x": {"signal": f"scale('x', datum.{start})"},
                    "x2": {"signal": f"scale('x', datum.{end})"},
                    "fill": {"value": colour(fill)},
                }
            },
        }
        for start, end, fill in (
            ("flushed", "normal", "shallows"),
            ("normal", "saturated", "afloat"),
        )
    ]
    seen = ("max(0, scale('x', datum.normal))", "min(width, scale('x', datum.saturated))")
    name = {
        "type": "text",
        "clip": True,
        "from": {"data": "windows"},
        "encode": {
            "update": {
                "text": {"field": "name"},
                "x": {"signal": f"({seen[0]} + {seen[1]}) / 2"},
                "y": {"signal": "24 + 15 * datum.row + 7"},
                "align": {"value": "center"},
                "baseline": {"value": "middle"},
                "font": {"value": "system-ui, sans-serif"},
                "fontSize": {"value": 10.5},
                "fontWeight": {"signal": "datum.chosen ? 700 : 400"},
                "fill": {"signal": f"datum.chosen ? '{colour('panel')}' : '{colour('ink')}'"},
            }
        },
    }
    return [*bars, name]


def _axis() -> Spec:
    """The axis: a label every few powers of two, as many as fit."""
    return {
        "type": "group",
        "encode": {"update": {"y": {"value": 22}, "width": {"signal": "width"}}},
        "axes": [
            {
                "scale": "x",
                "orient": "top",
                "tickCount": {"signal": "ceil(width / 70)"},
                **POWERS,
            }
        ],
    }
