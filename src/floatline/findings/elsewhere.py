"""What this device computes in float32 and others in 16 bits, and what they would lose."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from floatline.findings.window import TOLERATED_SHARE, zones
from floatline.formats import FORMATS
from floatline.records import Site, Trace


@dataclass(frozen=True, slots=True)
class Loss:
    """A value that does not fit where it is held in 16 bits.

    Attributes:
        site: The value, in float32 here.
        dtype: The 16-bit dtype that it has elsewhere.
        overflows: Whether its largest magnitude is beyond the end of that format.
        flushed: Share of the sum of its magnitudes that would be rounded to 0.
    """

    site: Site
    dtype: str
    overflows: bool
    flushed: float


def lost_elsewhere(trace: Trace) -> Iterator[Loss]:
    """The values of a step that other devices would lose, in execution order."""
    for site in trace.sites:
        name = site.dtype_elsewhere
        if name is not None:
            overflows = site.statistics.max_abs > FORMATS[name].max_finite
            flushed = _flushed_share(site, zones(FORMATS[name]).flushed_below)
            if overflows or flushed > TOLERATED_SHARE:
                yield Loss(site, name, overflows, flushed)


def only_here(traces: Sequence[Trace]) -> str | None:
    """A sentence that tells what ran in float32 on this device only; None when nothing did.

    Example:

    >>> from floatline.records import Widened
    >>> only_here([Trace(0, "first", (), widened=(Widened("matmul", "float16", 6),))])
    'On this device 6 operations of a step (matmul) ran in float32; on a GPU they run in float16.'
    """
    steps = [trace.widened for trace in traces if trace.widened]
    if not steps:
        return None
    most = max(steps, key=lambda step: sum(entry.count for entry in step))
    counts = Counter({entry.function: entry.count for entry in most})
    names = ", ".join(sorted(counts))
    dtypes = " or ".join(sorted({entry.dtype for entry in most}))
    said = "1 operation" if counts.total() == 1 else f"{counts.total()} operations"
    ran = "it runs" if counts.total() == 1 else "they run"
    return f"On this device {said} of a step ({names}) ran in float32; on a GPU {ran} in {dtypes}."


def _flushed_share(site: Site, border: int) -> float:
    magnitudes = {e: math.ldexp(n, e) for e, n in site.statistics.exponents.items()}
    total = sum(magnitudes.values())
    return sum(m for e, m in magnitudes.items() if e < border) / total if total else 0.0
