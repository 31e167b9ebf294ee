"""The user's code that a diagnosis points to, kept as it was when the diagnosis was made."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator, Sequence

from floatline.records import Configuration, Finding, SourceLine, SourceText, Trace

MAX_LINES = 400
"""Lines up to which a file is kept as a whole; of a longer one only what is near a place."""

NEAR = 3
"""Lines kept before and after a place in a long file."""

MAX_WIDTH = 400
"""Characters of a line that are kept: generated code can have one line of a megabyte."""


def source_texts(
    configuration: Configuration, traces: Sequence[Trace], findings: Sequence[Finding]
) -> tuple[SourceText, ...]:
    """The files of the user's that the records point to, in the order in which they are met."""
    places: dict[str, set[int]] = {}
    for source in _pointed_at(configuration, traces, findings):
        places.setdefault(source.file, set()).add(source.line)
    texts = (_text(file, lines) for file, lines in places.items())
    return tuple(text for text in texts if text.lines)


def _pointed_at(
    configuration: Configuration, traces: Sequence[Trace], findings: Sequence[Finding]
) -> Iterator[SourceLine]:
    found: Iterable[SourceLine | None] = (
        *(finding.place.source for finding in findings if finding.place),
        configuration.source,
        *(layer.source for layer in configuration.layers),
        *(site.place.source for trace in traces for site in trace.sites),
    )
    yield from (source for source in dict.fromkeys(found) if source is not None)


def _text(file: str, lines: set[int]) -> SourceText:
    # linecache knows the cells of notebooks, too, and is silent about what it cannot read.
    text = [line.rstrip()[:MAX_WIDTH] for line in linecache.getlines(file)]
    near = {n for line in lines for n in range(line - NEAR, line + NEAR + 1)}
    kept = range(1, len(text) + 1)
    wanted = kept if len(text) <= MAX_LINES else [n for n in kept if n in near]
    return SourceText(file, {n: text[n - 1] for n in wanted})
