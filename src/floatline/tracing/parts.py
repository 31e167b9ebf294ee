"""A step whose trace does not fit into memory: some rows of its batch, at the whole one's scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from floatline.backends.interface import Batch, State, Step
from floatline.capture.capture import KeptMoment
from floatline.errors import OutOfMemoryError
from floatline.headlines import headline, same_kind
from floatline.records import Site, StepRecord, Trace
from floatline.tracing.reference import record as recorded

_NOTE = (
    "The traced step did not fit into memory: {} {} traced, with the gradient scale of the whole "
    "batch."
)

SUM, MEAN = 1.0, 0.5
"""What becomes of the gradients of a row when every row of the batch comes twice."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a batch is traced in part.

    Attributes:
        whole: Rows of the batch.
        rows: Rows that are traced at once.
        step: The user's step, whose backward passes start where the gradients of each row become
            what they are in the whole batch.
    """

    whole: int
    rows: int
    step: Step

    def starts(self) -> Iterator[int]:
        """First rows of the parts, all of one size; the last two may overlap.

        Example:

        >>> list(Cut(8, 4, None).starts()), list(Cut(5, 2, None).starts())
        ([0, 4], [0, 2, 3])
        """
        yield from range(0, self.whole - self.rows, self.rows)
        yield self.whole - self.rows


@dataclass(frozen=True, slots=True)
class Part:
    """What was seen of some rows.

    Attributes:
        trace: Their trace.
        record: What the untraced step does with the same rows; with all rows, where none of the
            parts shows by itself what all rows show together.
    """

    trace: Trace
    record: StepRecord


def fitting(step: Step, moment: KeptMoment, record: StepRecord, short: OutOfMemoryError) -> Cut:
    """Finds how many rows of a batch can be traced at once: half as many until they fit.

    Args:
        step: The user's step.
        moment: What is to be traced.
        record: What the step did with the whole batch.
        short: What the trace of the whole batch raised.

    Raises:
        OutOfMemoryError: The batch cannot be cut, or a single row does not fit, either.
    """
    whole = step.rows(moment.batch)
    if whole is None:
        raise _hopeless(short, "its batch cannot be cut: its arrays have no rows in common")
    rows, parts = whole, step.seeded(1.0)
    while rows > 1:
        rows //= 2
        try:
            trace = _traced(parts, moment, range(rows))
        except Exception as error:  # A step may insist on the shape of its batch.
            raise _hopeless(short, _insists(rows, headline(error))) from error
        if trace is not None and trace.raised is not None and record.raised is None:
            raise _hopeless(short, _insists(rows, trace.raised))
        if trace is not None:
            seed = _seed(parts, moment, rows, whole)
            return Cut(whole, rows, parts if seed == 1.0 else step.seeded(seed))
    raise _hopeless(short, "neither does that of a single row of its batch")


def trace_part(step: Step, moment: KeptMoment, record: StepRecord, cut: Cut) -> Part:
    """Traces the first part of a batch that shows what the whole batch shows; else the first part.

    Args:
        step: The user's step; its variables are put back.
        moment: What is to be traced.
        record: What the step did with the whole batch.
        cut: How the batch is cut.

    Raises:
        OutOfMemoryError: It does not fit into memory.
    """
    for start in cut.starts():
        batch = step.picked(moment.batch, range(start, start + cut.rows))
        seen = _run(step, cut.step, moment.state, batch, record.step)
        if _alike(seen, record):
            return Part(_noted(cut.step.trace(moment.state, batch), cut, start), seen)
    first = step.picked(moment.batch, range(cut.rows))
    return Part(_noted(cut.step.trace(moment.state, first), cut, 0, alike=False), record)


def shares_of_rows(once: Trace, twice: Trace) -> list[float]:
    """What became of each row's gradients when every row came twice.

    Looked at is what the gradients of the variables are summed up from: it belongs to rows, and so
    is twice as much then. Behind it there are values that no backward pass has reached, as the
    slopes of activations are. Where a step takes its rows in pieces of one size, none is twice as
    much; then the gradients of the variables tell, which are the sum over twice as many rows.

    Args:
        once: A traced step.
        twice: The same one with every row of its batch twice.
    """
    sums = [
        (once.sites[one.site], twice.sites[many.site])
        for one, many in zip(once.gradients, twice.gradients, strict=False)
    ]
    rows = [(one, many) for one, many in _behind(once, twice, sums) if _doubled(one, many)]
    shares = [_ratio(one, many) for one, many in rows] or [_ratio(o, m) / 2 for o, m in sums]
    return [share for share in shares if share]


def _behind(
    once: Trace, twice: Trace, sums: Sequence[tuple[Site, Site]]
) -> Iterator[tuple[Site, Site]]:
    """Pairs of what the backward pass computes, from its results back to what belongs to rows."""
    waiting = list(sums)
    seen = {(one.index, many.index) for one, many in waiting}
    for one, many in waiting:  # Grows while it is read.
        same = one.place.operation == many.place.operation
        if not same or one.place.phase == "forward" or one.role != "value":
            continue
        yield one, many
        pairs = set(zip(one.inputs, many.inputs, strict=False)) - seen
        if not _doubled(one, many):
            seen |= pairs
            waiting.extend((once.sites[a], twice.sites[b]) for a, b in sorted(pairs))


def _doubled(one: Site, many: Site) -> bool:
    return 0 < 2 * one.statistics.count == many.statistics.count


def _ratio(one: Site, many: Site) -> float:
    """How much larger the largest is, 0 where there is none."""
    most = one.statistics.max_abs
    return many.statistics.max_abs / most if most else 0.0


def _traced(step: Step, moment: KeptMoment, rows: Sequence[int]) -> Trace | None:
    """The trace of some rows, None if it does not fit into memory."""
    try:
        return step.trace(moment.state, step.picked(moment.batch, rows))
    except OutOfMemoryError:
        return None


def _seed(step: Step, moment: KeptMoment, rows: int, whole: int) -> float:
    """What a part's backward passes start at: its share of the rows if a mean is taken, else 1.

    The numbers tell: that every row comes twice halves the gradients of each row in a mean over
    rows, and leaves them alone in a sum. So it does under a loss scale, where several losses are
    differentiated or one for each of several parts, and where a number of the code divides.
    """
    half = range(max(1, rows // 2))
    try:
        once, twice = (_traced(step, moment, [*half] * times) for times in (1, 2))
    except Exception:  # noqa: BLE001 (so few rows may not run, and so many do)
        once = twice = None
    shares = shares_of_rows(once, twice) if once and twice else []
    # Where nothing tells, it is what losses are made of: a mean.
    summed = bool(shares) and median(shares) > math.sqrt(SUM * MEAN)
    return 1.0 if summed else rows / whole


def _run(step: Step, parts: Step, state: State, batch: Batch, index: int) -> StepRecord:
    """What the untraced step does with some rows; the user's variables are put back."""
    kept = step.snapshot()
    try:
        parts.restore(state)
        return recorded(index, parts.run(batch)[1])
    except Exception as error:  # noqa: BLE001 (a step of the user's may raise anything)
        return StepRecord(index, math.nan, raised=headline(error))
    finally:
        step.restore(kept)


def _alike(seen: StepRecord, record: StepRecord) -> bool:
    """Whether two steps show the same: what is lost, or what is raised."""
    if seen.raised is not None or record.raised is not None:
        return seen.raised is not None and same_kind(record.raised, seen.raised)
    return (_lost(seen), seen.finite_gradients) == (_lost(record), record.finite_gradients)


def _lost(record: StepRecord) -> bool:
    return record.loss is not None and not math.isfinite(record.loss)


def _noted(trace: Trace, cut: Cut, start: int, *, alike: bool = True) -> Trace:
    """The trace, saying which rows it is of."""
    rows = f"rows {start} to {start + cut.rows - 1} of {cut.whole}"
    rows = rows if cut.rows > 1 else f"row {start} of {cut.whole}"
    notes = [_NOTE.format(rows, "were" if cut.rows > 1 else "was")]
    if not alike:
        notes.append("No part of the batch shows by itself what the whole batch shows.")
    if any("BatchNorm" in (site.place.layer_class or "") for site in trace.sites):
        notes.append("The traced statistics of a batch, in BatchNormalization, are of these rows.")
    return replace(trace, rows=rows, notes=(*trace.notes, *notes))


def _insists(rows: int, error: str) -> str:
    return f"its batch cannot be cut to {rows} rows, for then the step raises {error}"


def _hopeless(short: OutOfMemoryError, why: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"The traced step does not fit into memory, and {why}. It needed more than there is: "
        f"{short.message}",
        short.advice,
    )
