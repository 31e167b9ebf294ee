"""Losses as specifications for Vega: at every loss scale, and over a training."""

from __future__ import annotations

from typing import Any

from floatline.report.html.frame import POWERS, Spec, frame, in_page


def scale_losses(scales: list[int], colour: Any = in_page) -> Spec:
    """The share of the backward pass lost at every loss scale, and the window of good ones.

    Data `lost` (scale, flushed, saturated) and the signals are filled by who draws.
    """
    names = {"width": 600, "height": 96, "low": 0, "high": 0, "now": 15, "traced": 15}
    return {
        **frame(colour),
        "padding": {"left": 0, "right": 0, "top": 2, "bottom": 22},
        "signals": [{"name": name, "value": value} for name, value in names.items()],
        "data": [{"name": "lost", "values": []}],
        "scales": [
            {
                "name": "x",
                "type": "linear",
                "domain": [scales[0], scales[-1]],
                "range": [8, {"signal": "width - 8"}],
            },
            {"name": "y", "type": "linear", "domain": [0, 1], "range": [{"signal": "height"}, 0]},
        ],
        "axes": [
            {
                "scale": "x",
                "orient": "bottom",
                "tickCount": {"signal": "ceil(width / 60)"},
                **POWERS,
            }
        ],
        "marks": [
            _window(colour),
            _share("flushed", colour("water")),
            _share("saturated", colour("deck")),
            _rule("traced", colour("muted"), [3, 3]),
            _rule("now", colour("ink"), []),
        ],
    }


def _window(colour: Any) -> Spec:
    return {
        "type": "rect",
        "encode": {
            "update": {
                "x": {"signal": "scale('x', low)"},
                "x2": {"signal": "scale('x', max(low, high))"},
                "y": {"value": 0},
                "y2": {"signal": "height"},
                "fill": {"value": colour("good-zone")},
                "stroke": {"value": colour("good")},
                "strokeOpacity": {"signal": "high > low ? 1 : 0"},
            }
        },
    }


def _share(field: str, fill: str) -> Spec:
    return {
        "type": "area",
        "from": {"data": "lost"},
        "encode": {
            "update": {
                "interpolate": {"value": "monotone"},
                "x": {"scale": "x", "field": "scale"},
                "y": {"scale": "y", "field": field},
                "y2": {"scale": "y", "value": 0},
                "fill": {"value": fill},
                "fillOpacity": {"value": 0.8},
            }
        },
    }


def _rule(at: str, stroke: str, dash: list[int]) -> Spec:
    return {
        "type": "rule",
        "encode": {
            "update": {
                "x": {"signal": f"scale('x', {at})"},
                "y": {"value": 0},
                "y2": {"signal": "height"},
                "stroke": {"value": stroke},
                "strokeWidth": {"value": 2},
                "strokeDash": {"value": dash},
            }
        },
    }


def curves(kind: str = "linear", colour: Any = in_page) -> Spec:
    """Loss curves by step; data `lines` (name, step, value, colour), `band` (step, low, high)."""
    return {
        **frame(colour),
        "padding": {"left": 52, "right": 8, "top": 8, "bottom": 34},
        "signals": [
            {"name": "width", "value": 560},
            {"name": "height", "value": 220},
        ],
        "data": [
            {"name": "lines", "values": []},
            {"name": "band", "values": []},
            {"name": "marks", "values": []},
        ],
        "scales": [
            {
                "name": "x",
                "type": "linear",
                "domain": {"fields": [{"data": "lines", "field": "step"}]},
                "range": [0, {"signal": "width"}],
            },
            {
                "name": "y",
                "type": kind,
                "zero": False,
                "nice": True,
                "domain": {"fields": [{"data": "lines", "field": "value"}]},
                "range": [{"signal": "height"}, 0],
            },
        ],
        "axes": [
            {"scale": "x", "orient": "bottom", "title": "step", "tickMinStep": 1, "format": "d"},
            {
                "scale": "y",
                "orient": "left",
                "grid": kind == "linear",
                "tickCount": 5,
                "format": "~g",
                "labelOverlap": True,
            },
        ],
        "marks": [_band(colour), _skips(colour), _lines()],
    }


def _band(colour: Any) -> Spec:
    return {
        "type": "area",
        "from": {"data": "band"},
        "encode": {
            "update": {
                "x": {"scale": "x", "field": "step"},
                "y": {"scale": "y", "field": "low"},
                "y2": {"scale": "y", "field": "high"},
                "fill": {"value": colour("band")},
            }
        },
    }


def _skips(colour: Any) -> Spec:
    """A tick at the foot for every step that was skipped or not finite."""
    return {
        "type": "rule",
        "from": {"data": "marks"},
        "encode": {
            "update": {
                "x": {"scale": "x", "field": "step"},
                "y": {"signal": "height - 10"},
                "y2": {"signal": "height"},
                "stroke": {"value": colour("deck")},
                "strokeWidth": {"value": 2},
            }
        },
    }


def _lines() -> Spec:
    return {
        "type": "group",
        "from": {"facet": {"name": "line", "data": "lines", "groupby": "name"}},
        "marks": [
            {
                "type": "line",
                "from": {"data": "line"},
                "encode": {
                    "update": {
                        "x": {"scale": "x", "field": "step"},
                        "y": {"scale": "y", "field": "value"},
                        "stroke": {"field": "colour"},
                        "strokeWidth": {"field": "width"},
                        "strokeDash": {"field": "dash"},
                        "tooltip": {"field": "name"},
                    }
                },
            }
        ],
    }
