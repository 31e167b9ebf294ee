"""Did training suffer? Compares the watched training with the same steps in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from floatline.records import Evidence, History, Reference, StepRecord

SEARCH_STEPS = 6
"""Skipped steps that the search for a loss scale may take; from Keras' 2**15 it ends at 2**9."""

WASTED_SHARE = 0.15
"""Share of skipped steps, beyond `SEARCH_STEPS`, that counts as harm: a sixth of the training."""

BROKEN_STEPS = 3
"""Steps in a row with a non-finite loss at the end that a loss scale will not cure."""

COMPARABLE_STEPS = 10
"""Steps below which two loss curves are a handful of points, and nothing is concluded."""

TAIL_SHARE = 5
"""One over the share of the training whose median loss is compared: the last fifth."""

TAIL_STEPS = 5
"""Fewest steps in that tail: a median of fewer follows single batches."""

SOLVED_SHARE = 1e-3
"""Loss over starting loss below which a task counts as solved; differences there are rounding."""

RATIO_AT_START = 1.15
"""Loss ratio to float32 that is tolerated when training has hardly lowered the loss."""

RATIO_EXPONENT = 0.35
"""Tolerated ratio grows as (start / loss)**0.35: a factor 2.6 at a tenth of the starting loss,
5.8 at a hundredth. The deeper a training went, the more its loss depends on the last digits."""

BANDS = 3.0
"""Spreads of float32 against perturbed float32 that a difference must exceed."""

CONSISTENT_SHARE = 0.6
"""Share of the tail's steps that must agree with the median on who is worse."""

LOST_PROGRESS = 0.25
"""Share of float32's progress that is missing: for losses that are not positive, and where the
weights are seen to stand still."""

DIVERGED_RATIO = 10.0
"""Loss at the end over loss at the start that counts as divergence."""

LEAP_RATIO = 1000.0
"""Largest loss over the first one that counts as a leap: the first updates threw the training off,
so the loss before them is where it began."""

UNDONE_RATIO = 2.0
"""Loss at the end over the first one that counts as divergence once it has leapt in between, and
come down again by as much: what was learned before, or is left of the weights, never came back."""

ABSURD_SCALE = 2.0**40
"""The whole range of float16, from 2**-24 to 2**16: above it every nonzero gradient overflows, so
only gradients that are zero let a scale get there."""

ALIKE_STEPS = 20
"""Float32 fails 'in the same way' when it fails by twice the step plus these."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tails of two loss curves; `worse` when own exceeds reference beyond `allowed`.

    Attributes:
        own: Median loss at the end in the training's own precision.
        reference: Median loss at the end in float32, after as many updates.
        start: Median float32 loss at the beginning.
        difference: Log of the loss ratio; share of lost progress when losses are not positive.
        allowed: The difference that is still noise.
        worse: Whether training suffered.
        behind: Whether a decisive share of float32's progress is missing beyond all noise, which
            is less than `worse` asks for: it counts where a trace shows the reason.
    """

    own: float
    reference: float
    start: float
    difference: float
    allowed: float
    worse: bool
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the training.

    Attributes:
        steps: Steps watched.
        skipped: Steps skipped by a loss-scale optimizer.
        nonfinite_losses: Steps whose loss was non-finite although float32's was not.
        ends_broken: The last steps are all non-finite or skipped, beyond a search for a scale.
        searching: The watch ended before the search for a loss scale let one step through.
        wasted: Skipped steps take a decisive share of the training.
        diverged: The loss ended far above where it began, yet finite.
        float32_fails: Whether float32 fails in the same way; None without a reference.
        comparison: The loss curves side by side; None when that says nothing.
        rebuilt_only: Whether the same operations in float32 do no better, and only the step built
            anew does: what was chosen when the step was built followed the precision.
    """

    steps: int
    skipped: int
    nonfinite_losses: int
    ends_broken: bool
    searching: bool
    wasted: bool
    diverged: bool
    float32_fails: bool | None
    comparison: Comparison | None
    rebuilt_only: bool = False

    @property
    def worse(self) -> bool | None:
        """Whether training did worse than float32; None when it cannot be told."""
        return self.comparison.worse if self.comparison else None

    @property
    def broken(self) -> bool:
        """Whether steps were lost to non-finite values beyond what a loss scale is made for."""
        return self.ends_broken or self.wasted or self.nonfinite_losses > 0


def outcome(evidence: Evidence) -> Outcome:
    """Reads the history, and the float32 reference if there is one.

    Example:

    >>> from floatline.records import Configuration
    >>> steps = tuple(StepRecord(i, 1.0 / (i + 1)) for i in range(40))
    >>> same = Evidence(Configuration("mixed_float16"), History(steps), (), Reference(steps))
    >>> outcome(same).worse
    False
    """
    history, reference = evidence.history, evidence.reference
    steps = history.steps
    skipped = sum(step.skipped for step in steps)
    trailing = _trailing_bad(steps)
    ends_broken = _ends_broken(steps, trailing)
    diverged = _diverged(steps)
    comparison, rebuilt_only = _compare(history, reference)
    return Outcome(
        steps=len(steps),
        skipped=skipped,
        nonfinite_losses=_nonfinite_losses(steps, reference),
        ends_broken=ends_broken,
        searching=0 < trailing == len(steps) and not ends_broken,
        wasted=_wasted(history, skipped),
        diverged=diverged,
        float32_fails=_fails_alike(steps, trailing, ends_broken or diverged, reference),
        comparison=comparison,
        rebuilt_only=rebuilt_only,
    )


def scaling_unused(evidence: Evidence) -> bool:
    """Whether a model has a loss scale that its step does not use, having optimizers of its own.

    Example:

    >>> from floatline.records import Configuration
    >>> has_one = Configuration("mixed_float16", loss_scaling=True)
    >>> [
    ...     scaling_unused(Evidence(has_one, History((StepRecord(0, 1.0, loss_scale=scale),))))
    ...     for scale in (None, 32768.0)
    ... ]
    [True, False]
    """
    steps = [step for step in evidence.history.steps if step.raised is None]
    unseen = bool(steps) and all(step.loss_scale is None for step in steps)
    return evidence.configuration.loss_scaling and unseen


def bad(step: StepRecord) -> bool:
    """Whether a step lost its update to non-finite values."""
    return step.skipped or not step.finite_gradients or nonfinite(step.loss)


def nonfinite(loss: float | None) -> bool:
    """Whether a loss is known and not finite."""
    return loss is not None and not math.isfinite(loss)


def _trailing_bad(steps: Sequence[StepRecord]) -> int:
    return next((i for i, step in enumerate(reversed(steps)) if not bad(step)), len(steps))


def _ends_broken(steps: Sequence[StepRecord], trailing: int) -> bool:
    if not trailing:
        return False
    end = steps[-trailing:]
    if not any(step.skipped for step in end):
        return True  # Nothing skipped the update, so the weights are lost.
    lost = sum(nonfinite(step.loss) for step in end)
    return trailing > SEARCH_STEPS or lost >= BROKEN_STEPS


def _wasted(history: History, skipped: int) -> bool:
    """Whether skipped steps take a decisive share of the training.

    A search for a scale at the start that came to its end comes once. What share of a training
    it is that the watch has not seen the end of, is not known.
    """
    steps = history.steps
    search = next((i for i, step in enumerate(steps) if not step.skipped), len(steps))
    if history.stopped == "budget" and len(steps) >= 2 * search + COMPARABLE_STEPS:
        skipped -= search
    return skipped > SEARCH_STEPS and skipped >= WASTED_SHARE * len(steps)


def only_searched(evidence: Evidence) -> bool:
    """Whether the steps that are skipped here, and finite in float32, are a search for a scale.

    Example:

    >>> from floatline.records import Configuration
    >>> search = tuple(StepRecord(i, 1.0, skipped=i < 3) for i in range(40))
    >>> only_searched(Evidence(Configuration("mixed_float16"), History(search)))
    True
    """
    reference = evidence.reference
    elsewhere = {step.step for step in reference.steps if bad(step)} if reference else set()
    here = sum(s.skipped and s.step not in elsewhere for s in evidence.history.steps)
    return any(s.skipped for s in evidence.history.steps) and not _wasted(evidence.history, here)


def _nonfinite_losses(steps: Sequence[StepRecord], reference: Reference | None) -> int:
    others = _as_if_asked_for(reference) if reference else ()
    elsewhere = {step.step for step in others if nonfinite(step.loss)}
    return sum(nonfinite(step.loss) and step.step not in elsewhere for step in steps)


def finite_losses(steps: Sequence[StepRecord]) -> list[float]:
    """The losses that are known and finite."""
    return [step.loss for step in steps if step.loss is not None and math.isfinite(step.loss)]


def tail_steps(steps: int) -> int:
    """How many steps at the end of a training are compared.

    Example:

    >>> tail_steps(10), tail_steps(100)
    (5, 20)
    """
    return max(TAIL_STEPS, steps // TAIL_SHARE)


def starting_loss(steps: Sequence[StepRecord]) -> float | None:
    """The median loss of the first steps; None where no loss is finite."""
    losses = finite_losses(steps)
    if not losses:
        return None
    return max(median(losses[:TAIL_STEPS]), median(losses[: max(1, len(losses) // TAIL_SHARE)]))


def _diverged(steps: Sequence[StepRecord]) -> bool:
    losses, start = finite_losses(steps), starting_loss(steps)
    if start is None or start <= 0 or len(losses) < COMPARABLE_STEPS:
        return False
    end = median(losses[-TAIL_STEPS:])
    if losses[0] <= 0 or max(losses) <= LEAP_RATIO * losses[0] or _comes_back(losses):
        return end > DIVERGED_RATIO * start
    fell = max(losses) > LEAP_RATIO * end
    return end > (UNDONE_RATIO if fell else DIVERGED_RATIO) * losses[0]


def _comes_back(losses: Sequence[float]) -> bool:
    """Whether a loss behind the leap is as low as the first: batches differ, nothing was undone."""
    leap = next(i for i, loss in enumerate(losses) if loss > LEAP_RATIO * losses[0])
    return min(losses[leap:]) <= losses[0]


def _fails_alike(
    steps: Sequence[StepRecord], trailing: int, fails: bool, reference: Reference | None
) -> bool | None:
    if reference is None or not reference.steps:
        return None
    if not fails:
        return False
    again = _as_if_asked_for(reference)
    if _diverged(again):
        return True
    starts = [i for i, step in enumerate(again) if nonfinite(step.loss)][:1]
    lost = _trailing_bad(again)
    scales = (step.loss_scale or 0.0 for step in steps[len(again) - lost : len(again)])
    # Float32 keeps the loss scale that it does not need; an absurd one is not its own failure.
    if lost > SEARCH_STEPS and all(scale <= ABSURD_SCALE for scale in scales):
        starts.append(len(again) - lost)
    return any(start <= 2 * (len(steps) - trailing) + ALIKE_STEPS for start in starts)


def _as_if_asked_for(reference: Reference) -> tuple[StepRecord, ...]:
    """The float32 training that the script would have had, as near as it is known."""
    return reference.rebuilt or reference.steps


def _compare(history: History, reference: Reference | None) -> tuple[Comparison | None, bool]:
    """Compares with the same operations in float32, then with those that float32 would choose.

    Returns:
        The comparison that counts, and whether only what float32 would choose does better.
    """
    if reference is None:
        return None, False
    same = _compare_with(history, reference, reference.steps)
    if not reference.rebuilt or (same is not None and same.worse):
        return same, False
    rebuilt = _compare_with(history, reference, reference.rebuilt)
    if rebuilt is not None and (same is None or rebuilt.worse):
        return rebuilt, same is not None
    return same, False


def _compare_with(
    history: History, reference: Reference, other: Sequence[StepRecord]
) -> Comparison | None:
    length = min(len(history.steps), len(other))
    own = history.steps[:length]
    tail = tail_steps(length)
    updates = length - sum(step.skipped for step in own)
    own_losses = finite_losses(own[-tail:])
    start = starting_loss(other[:length])
    if updates < max(COMPARABLE_STEPS, tail) or start is None or 2 * len(own_losses) < tail:
        return None
    windows = (other[length - tail : length], other[updates - tail : updates])
    references = [median(losses) for losses in map(finite_losses, windows) if losses]
    paired = finite_losses(windows[0])
    # float32's own noise: what rounded initial weights change in the same operations, and chance.
    runs = (reference.steps, reference.perturbed, reference.repeated)
    spread = (finite_losses(run[length - tail : length]) for run in runs)
    noise = [median(losses) for losses in spread if losses]
    if not paired:
        return None
    level = median(own_losses)
    if min(level, start, *references) > 0:
        result = _by_ratio(level, max(references), start, paired, noise)
    else:
        result = _by_progress(level, max(references), start, noise)
    return result if _consistent(own_losses, result) else _not_worse(result)


def _by_ratio(
    own: float, reference: float, start: float, tail: Sequence[float], noise: Sequence[float]
) -> Comparison:
    difference = math.log(own / reference)
    floor = math.log(RATIO_AT_START) + RATIO_EXPONENT * max(0.0, math.log(start / own))
    centre = median(tail)
    spread = median([abs(math.log(max(loss, 1e-300) / centre)) for loss in tail]) if centre else 0
    waves = spread / math.sqrt(len(tail))
    logs = [math.log(level / noise[0]) for level in noise] if noise and min(noise) > 0 else []
    band = max(map(abs, logs), default=0.0)
    noise_band = max(BANDS * band, BANDS * waves)
    allowed = max(floor, noise_band)
    worse = difference > allowed and own > SOLVED_SHARE * start
    behind = difference > noise_band and own - reference > LOST_PROGRESS * (start - reference) > 0
    return Comparison(own, reference, start, difference, allowed, worse, behind)


def _by_progress(own: float, reference: float, start: float, noise: Sequence[float]) -> Comparison:
    progress = start - reference
    if progress <= 0:
        return Comparison(own, reference, start, 0.0, LOST_PROGRESS, False)
    band = max((abs(level - noise[0]) for level in noise), default=0.0) / progress
    difference, allowed = (own - reference) / progress, max(LOST_PROGRESS, BANDS * band)
    return Comparison(own, reference, start, difference, allowed, difference > allowed)


def _consistent(own: Sequence[float], result: Comparison) -> bool:
    above = sum(loss > result.reference for loss in own)
    return above >= CONSISTENT_SHARE * len(own)


def _not_worse(result: Comparison) -> Comparison:
    return Comparison(
        result.own, result.reference, result.start, result.difference, result.allowed, False
    )
