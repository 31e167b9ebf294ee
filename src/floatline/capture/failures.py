"""Errors of the user's own training, brought down to the line that says what is wrong."""

from __future__ import annotations

import re

from floatline.errors import TrainingError
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

# Two dtypes in one operation, as TensorFlow (in a graph, at once), PyTorch and JAX say it.
_CLASH = (
    r"type (b?float(16|32)|half) that does not match|"
    r"expected to be a \w+ tensor but is a \w+ tensor|"
    r"(same|equal) (d?types?|element types)|"
    r"scalar type \w*(half|float\w*) but found \w*(half|float)|"
    r"float16.*(incompatible|mismatch).*float32|float32.*(incompatible|mismatch).*float16"
)
_CAST = (
    "Here two dtypes meet, as they do in mixed precision when a number is made in float32 beside "
    "layers that compute in 16 bits. Cast one of them, `keras.ops.cast(x, y.dtype)`, make it with "
    '`dtype=`, or give the layer that returns it dtype="float32". In float32 alone it may run.'
)

# What to do, by what the framework's message says; the first that fits.
_ADVICE = (
    (
        r"label value.*outside the valid range",
        "Labels count from 0 up to the units of the last layer. Widen it, or correct the labels.",
    ),
    (
        r"cardinality|same number of samples",
        "Give `x`, `y` and the weights the same number of rows.",
    ),
    (
        r"compile\(\)|not compiled|must be compiled",
        'Call `model.compile(optimizer="adam", loss=...)` before training.',
    ),
    (
        r"between 0 and 1|\bnan\b",
        "Mostly NaN is the reason: see with `--precision float32` whether float32 has it, too.",
    ),
    (
        r"shape|rank|dimension|incompatible|broadcast",
        "Compare the shape of the data with what the model takes and gives (`model.summary()`).",
    ),
    (
        r"out of memory|\boom\b|resource exhausted",
        "Use a smaller batch, or run the diagnosis on a machine with more memory.",
    ),
)
_OTHERWISE = (
    "Training fails with this error without Floatline too. Correct it, then diagnose again."
)


def training_error(error: BaseException, doing: str = "The training step") -> TrainingError:
    """The error of the user's training as one that says what happened and what to do."""
    line, place = condensed(error), users_line(error)
    at = "" if place is None else f" (at {place.file}:{place.line})"
    advice = clash_advice(line) or next(
        (text for pattern, text in _ADVICE if re.search(pattern, line, re.IGNORECASE)), _OTHERWISE
    )
    return TrainingError(f"{doing} raised {type(error).__name__}: {line}{at}", advice)


def clash_advice(line: str) -> str | None:
    """What to do where a framework reports that two dtypes meet; None for other errors."""
    return _CAST if re.search(_CLASH, line, re.IGNORECASE) else None


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
