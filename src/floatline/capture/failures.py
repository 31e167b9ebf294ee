"""Errors of the user's own training, brought down to the line that says what is wrong."""

from __future__ import annotations

import re

from floatline.errors import TrainingError

MAX_LENGTH = 300  # characters: about four lines of a terminal

# Lines that frameworks put around their message: headings, stack traces, node names.
_NOISE = re.compile(
    r"^(Graph execution error:|Detected at node|Detected unsupported operations|"
    r"File \"|Stack trace for op|Original stack trace|in user code:|Traceback \(most recent|"
    r"Exception encountered when calling|Arguments received by|"
    r"\[\[\{\{|node |\^|~|•|\(\d+\) )",
)
_TAIL = re.compile(r"\s*(\[Op:[^\]]*\]|\[\[\{\{.*?\}\}\]\]|  Label values:.*|, name: \S*)\s*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

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
    line = condensed(error)
    advice = next(
        (text for pattern, text in _ADVICE if re.search(pattern, line, re.IGNORECASE)), _OTHERWISE
    )
    return TrainingError(f"{doing} raised {type(error).__name__}: {line}", advice)


def condensed(error: BaseException) -> str:
    """The line of an error message that says what is wrong."""
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    telling = [line for line in _after_stack_trace(lines) if line and not _NOISE.match(line)]
    text = _TAIL.sub(" ", telling[0]).strip() if telling else type(error).__name__
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def _after_stack_trace(lines: list[str]) -> list[str]:
    """The lines below the last line of a stack trace inside the message, or all."""
    frames = [index for index, line in enumerate(lines) if line.startswith('File "')]
    if not frames:
        return lines
    below = lines[frames[-1] + 1 :]
    # A frame may be followed by its line of code, which stands in front of an empty line.
    if "" in below and any(below[below.index("") + 1 :]):
        return below[below.index("") + 1 :]
    return below
