"""Errors of the user's own training, with what to do about them."""

from __future__ import annotations

import re

from floatline.errors import TrainingError
from floatline.headlines import condensed, headline

# Two dtypes in one operation, as TensorFlow (in a graph, at once), PyTorch and JAX say it.
_CLASH = (
    r"type (b?float(16|32)|half) that does not match|"
    r"expected to be a \w+ tensor but is a \w+ tensor|"
    r"(same|equal) (d?types?|element types)|"
    r"list containing a tensor of dtype <dtype: 'b?float\d+'> to <dtype: 'b?float\d+'|"
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
        r"device-side assert",
        "A check failed on the GPU, for NaN or a label: set CUDA_VISIBLE_DEVICES= for the CPU.",
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
    advice = clash_advice(line) or next(
        (text for pattern, text in _ADVICE if re.search(pattern, line, re.IGNORECASE)), _OTHERWISE
    )
    made = TrainingError(f"{doing} raised {headline(error)}", advice)
    made.__cause__ = error  # It may be raised later, and where it began is asked for then.
    return made


def clash_advice(line: str) -> str | None:
    """What to do where a framework reports that two dtypes meet; None for other errors."""
    return _CAST if re.search(_CLASH, line, re.IGNORECASE) else None
