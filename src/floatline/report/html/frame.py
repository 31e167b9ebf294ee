"""What all drawings share: their colours, their axes, their font."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Spec = dict[str, Any]

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "ink": "#14222e",
        "muted": "#536471",
        "grid": "#d6dee4",
        "panel": "#ffffff",
        "afloat": "#35758a",
        "shallows": "#845d00",
        "water": "#2f5fb3",
        "deck": "#c4372b",
        "water-zone": "#d9e6f7",
        "shallows-zone": "#f6eed6",
        "deck-zone": "#f9deda",
        "good": "#1f7a4d",
        "good-zone": "#d5eee0",
        "own": "#c4372b",
        "reference": "#3f7f93",
        "band": "#cfe3e8",
    }
)
"""Literal colours for pictures that stand alone; a page gives its own, light and dark."""


def in_page(name: str) -> str:
    """A colour as the page's style names it."""
    return f"var(--{name})"


def in_light(name: str) -> str:
    """A colour of the light palette."""
    return LIGHT[name]


def frame(colour: Any) -> Spec:
    """A specification without data and marks, in the colours of a page or a palette."""
    return {
        "$schema": "https://vega.github.io/schema/vega/v6.json",
        "padding": 0,
        "autosize": "none",
        "background": None,
        "config": {
            "axis": {
                "labelColor": colour("muted"),
                "titleColor": colour("muted"),
                "labelFont": "system-ui, sans-serif",
                "titleFont": "system-ui, sans-serif",
                "labelFontSize": 11,
                "titleFontSize": 11,
                "titleFontWeight": 400,
                "domainColor": colour("grid"),
                "tickColor": colour("grid"),
                "gridColor": colour("grid"),
            }
        },
    }


POWERS: Mapping[str, Any] = MappingProxyType(
    {
        "labelBound": True,
        "labelOverlap": True,
        "encode": {"labels": {"update": {"text": {"signal": "'2^' + datum.value"}}}},
    }
)
"""An axis of exponents; its labels stay inside the picture."""


def wordless(spec: Spec) -> Spec:
    """The same drawing without names for its marks and axes.

    The page describes each drawing as a whole, and the rows in full; a screen reader that is led
    through hundreds of nameless marks helps nobody.
    """
    parts: Spec = {
        kind: [wordless({**part, "aria": False}) for part in spec[kind]]
        for kind in ("marks", "axes")
        if kind in spec
    }
    return {**spec, **parts}
