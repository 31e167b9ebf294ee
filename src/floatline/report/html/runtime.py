"""What a page is made with: the templates, escaping everything, and the drawing library's code."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def templates() -> jinja2.Environment:
    """The templates of this folder; every value is escaped unless it says that it is markup."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("floatline.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["embedded"] = embedded
    return made


def embedded(value: Any) -> Markup:
    r"""JSON that can stand inside a script element: no text can end the element or open one.

    Example:

    >>> print(embedded({"layer": "</script><!--"}))
    {"layer": "\u003c/script\u003e\u003c!--"}
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def vega() -> Markup:
    """The drawing library's code, about 900 kB; it draws in the reader's browser."""
    # In a function, for the bundle's own short names would become the page's.
    code = f"(() => {{{vl_convert.javascript_bundle(_SNIPPET)}}})();"
    return Markup(code.replace("</script", "<\\/script"))
