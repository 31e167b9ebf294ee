"""Row numbers that pass through half precision on their way to a table."""

from __future__ import annotations

from collections.abc import Iterator

from floatline.findings.configured.note import ConfigurationNote, of
from floatline.findings.configured.setup import Setup
from floatline.findings.rules.fl303_integer_in_half import IntegerInHalf
from floatline.formats import FORMATS


def ids(setup: Setup) -> Iterator[ConfigurationNote]:
    """Rows of tables, or classes, that are never met, for their numbers are rounded to others."""
    for layer in setup.layers:
        use = layer.ids
        exact = 0 if use is None else FORMATS[use.dtype].exact_integers
        # The last row is number rows - 1, and `exact` itself is held.
        if use is None or use.rows - 2 < exact:
            continue
        rounded = f"{exact + 1} becomes {exact}: some are never met"
        yield of(
            IntegerInHalf,
            "wrong" if use.given else "risk",
            setting=f"numbers of {use.rows} rows or classes pass through {use.dtype}",
            reason=f"{use.dtype} holds every integer up to {exact} only, and {rounded}"
            if use.given
            else f"if what is cast to integers there are such numbers: {use.dtype} holds every "
            f"integer up to {exact} only, and {rounded}",
            change="keep ids in an integer dtype: an Input of dtype int32, not cast with the rest",
            layer=layer.path,
            source=use.source or layer.source,
            rows=use.rows,
            exact_integers=exact,
        )
