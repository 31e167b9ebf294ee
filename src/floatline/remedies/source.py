"""What a plan cannot change: the user's own lines, as they stand and as they could read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from floatline.records import Finding, SourceLine
from floatline.remedies.autocast_source import without_autocast
from floatline.remedies.epsilon_source import optimizer_epsilon
from floatline.remedies.fixed_scale_source import fitting_number, scaled_bound
from floatline.remedies.jax_scale_source import carried_scaler
from floatline.remedies.numbers_source import (
    arguments_in_half,
    casts,
    layer,
    literals,
    logarithms,
    operands,
)
from floatline.remedies.scale_source import clipped_later, scaled_loss, wrapped_optimizer
from floatline.remedies.statement import Edit, Statement, read
from floatline.remedies.torch_scale_source import graded_scaler, unscaled_first
from floatline.repairs import SourceChange

Rewrite = Callable[[Statement, Finding], list[Edit]]
"""Edits of a statement that may cure what a finding says of it; none where it does not apply."""

_OF_NUMBERS: Sequence[tuple[Rewrite, str]] = (
    (literals, "float16 cannot hold the number."),
    (optimizer_epsilon, "float16 cannot hold the epsilon that the optimizer has otherwise."),
    (layer, "The layer computes in float32."),
    (
        without_autocast,
        "The line computes in float32, which torch.autocast would undo, and hands float32 on.",
    ),
    (casts, "Nothing is rounded to half precision there; cast what it meets later, too."),
    (
        operands,
        "The line computes in float32, and hands float32 on: cast what it meets later, too.",
    ),
    (logarithms, "Keeps the logarithm finite in float16; small probabilities lose their weight."),
)
LIFTED = "A loss scale lifts the gradients above what float16 flushes to 0."

_OF_SCALES: Sequence[tuple[Rewrite, str]] = (
    (unscaled_first, "The bound then holds for the gradients without the loss scale."),
    (clipped_later, "The bound grows with the loss scale that the gradients carry."),
    (scaled_bound, "The bound grows with the loss scale that the gradients carry."),
    (scaled_loss, "The optimizer divides the gradients by its loss scale, which they now carry."),
    (wrapped_optimizer, LIFTED),
    (graded_scaler, LIFTED),
    (carried_scaler, LIFTED),
    (fitting_number, "At this loss scale no gradient of the traced step overflows."),
)

_HALVES = (("BFloat16", "bfloat16"), ("Half", "half"))
"""PyTorch's names of the half formats in its errors, and the methods that cast to them."""

SCALES = ("FL201", "FL402", "FL404")
"""Rules whose fault is in the steps around the loss scale."""

NO_CHANGE = ("FL304", "FL4", "FL5", "FL6")
"""Rules, and families of them, whose fault is not in the numbers of one line."""


def changes(findings: Iterable[Finding]) -> tuple[SourceChange, ...]:
    """A change for each line that failures name, where one is known.

    Args:
        findings: Most likely root cause first.
    """
    made = (_change(finding) for finding in findings if finding.severity == "failure")
    return tuple({(c.file, c.line): c for c in made if c is not None}.values())


def casts_at(place: SourceLine, said: str) -> tuple[SourceChange, ...]:
    """Casts of what a line reads that meets another dtype there and cannot mix, likeliest first.

    Args:
        place: The line.
        said: What the framework says of it.
    """
    line = read(place.file, place.line)
    if line is None:
        return ()
    up = line.change(operands(line), "It meets float32 there.")
    formats = [
        (name, method) for name, method in _HALVES if name in said and "torch" in line.imported
    ]
    down = [
        line.change(
            arguments_in_half(line, method), "It meets weights there that are kept in half."
        )
        for _, method in formats
    ]
    # PyTorch names the input before the weights.
    first = any("loat" in said.partition(name)[0] for name, _ in formats)
    return tuple(filter(None, (*down, up) if first else (up, *down)))


def _change(finding: Finding) -> SourceChange | None:
    place = finding.place
    line = read(place.source.file, place.source.line) if place and place.source else None
    if line is None:
        return None
    proposed = (
        line.change(rewrite(line, finding), why, whole=(rewrite, why) in _OF_SCALES)
        for rewrite, why in _rewrites(finding)
    )
    return next((change for change in proposed if change is not None), None)


def _rewrites(finding: Finding) -> Sequence[tuple[Rewrite, str]]:
    scales = _OF_SCALES if finding.rule in SCALES else ()
    return (*scales, *(() if finding.rule.startswith(NO_CHANGE) else _OF_NUMBERS))
