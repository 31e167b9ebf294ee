"""Places and numbers in words, for the sentences of findings."""

from __future__ import annotations

from pathlib import PurePath

from floatline.records import Place


def number(value: float) -> str:
    """Three digits are enough to judge a magnitude.

    Example:

    >>> number(98304.0), number(2.0), number(1.19e-07), number(-0.0)
    ('9.83e+04', '2', '1.19e-07', '0')
    """
    return f"{value + 0.0:.3g}"  # A negative zero plus zero is zero.


def share(value: float) -> str:
    """A share in per cent, never rounded up to all.

    Example:

    >>> share(0.25), share(0.9999), share(1.0)
    ('25 %', '99 %', '100 %')
    """
    return f"{int(100 * value + 1e-9)} %"


def where(place: Place) -> str:
    """Operation, layer and the user's line.

    Example:

    >>> where(Place("norm", "RealDiv", "norm/truediv", "forward"))
    "RealDiv in layer 'norm'"
    """
    layer = f"layer '{place.layer}'" if place.layer else "the loss or optimizer"
    text = f"{place.operation} in {layer}"
    if place.phase == "backward":
        text = f"the backward {text}"
    if place.source is None:
        return text
    return f"{text} ({PurePath(place.source.file).name}:{place.source.line})"
