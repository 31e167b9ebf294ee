"""An error of the user's code in one line: its kind, its message and where it was raised."""

from __future__ import annotations

import re

from floatline.records import SourceLine
from floatline.sources import is_users

MAX_LENGTH = 300  # characters: about four lines of a terminal

# Lines that frameworks put around their message: headings, stack traces, node names.
_NOISE = re.compile(
    r"^(Graph execution error:|Detected at node|Detected unsupported operations|"
    r"File \"|Stack trace for op|Original stack trace|in user code:|Traceback \(most recent|"
    r"(\w+: )?Exception encountered when calling|Arguments received by|"
    r"\[\[\{\{|node |\^|~|•|\(\d+\) )",
)
_TAIL = re.compile(
    r"\s*(\[Op:[^\]]*\]|\[\[\{\{.*?\}\}\]\]|  Label values:.*|,?\s*\bname: ?\S*$)\s*"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def headline(error: BaseException) -> str:
    """Kind, message and place of an error in one line."""
    place = users_line(error)
    at = "" if place is None else f" (at {place.file}:{place.line})"
    return f"{type(error).__name__}: {condensed(error)}{at}"


def same_kind(one: str | None, other: str) -> bool:
    """Whether two headlines tell of an error of one kind at one place; numbers may differ.

    Example:

    >>> one, other = "ValueError: 3.5 (at a.py:2)", "ValueError: nan (at a.py:2)"
    >>> same_kind(one, other), same_kind(one, "ValueError: 3.5 (at a.py:3)")
    (True, False)
    """
    return one is not None and _kind_and_place(one) == _kind_and_place(other)


def _kind_and_place(headline: str) -> tuple[str, str]:
    kind, _, rest = headline.partition(":")
    place = rest.rpartition(" (at ")
    return kind, place[2] if place[1] else ""


def users_line(error: BaseException) -> SourceLine | None:
    """The innermost line of the user's that an error passed; None where it passed none."""
    place, trace = None, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_users(file):
            place = SourceLine(file, trace.tb_lineno)
        trace = trace.tb_next
    return place


def condensed(error: BaseException) -> str:
    """The line of an error message that says what is wrong."""
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    telling = [line for line in _after_stack_trace(lines) if line and not _NOISE.match(line)]
    text = _TAIL.sub(" ", telling[0]).strip() if telling else type(error).__name__
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def _after_stack_trace(lines: list[str]) -> list[str]:
    """The lines below the last line of a stack trace inside the message, or all."""
    quoting = [index for index, line in enumerate(lines) if line.endswith("Error encountered:")]
    if quoting:  # Keras quotes what a layer has raised below words of its own.
        return lines[quoting[-1] + 1 :]
    frames = [index for index, line in enumerate(lines) if line.startswith('File "')]
    if not frames:
        return lines
    below = lines[frames[-1] + 1 :]
    # A frame may be followed by its line of code, which stands in front of an empty line.
    if "" in below and any(below[below.index("") + 1 :]):
        return below[below.index("") + 1 :]
    return below
