"""Was a trial as good as float32? The same yardstick by which the training was found wanting."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from floatline.findings.outcome import COMPARABLE_STEPS, TAIL_STEPS, Outcome, nonfinite, outcome
from floatline.records import Configuration, Evidence, History, Reference, StepRecord
from floatline.repairs import TrialVerdict


def verdict(
    configuration: Configuration, steps: tuple[StepRecord, ...], reference: Reference
) -> tuple[TrialVerdict, str]:
    """Whether a training held its own against float32, and why.

    Args:
        configuration: The training as it is set up.
        steps: What the trial did.
        reference: The same steps in float32, with float32's own noise.

    Example:

    >>> good = tuple(StepRecord(i, 1 / (i + 1)) for i in range(40))
    >>> flat = tuple(StepRecord(i, 1.0) for i in range(40))
    >>> setting = Configuration("mixed_float16")
    >>> verdict(setting, good, Reference(good))[0], verdict(setting, flat, Reference(good))[0]
    ('fixed', 'not fixed')
    """
    seen = outcome(Evidence(configuration, History(steps), (), reference))
    fault = _fault(seen)
    if fault:
        return "not fixed", fault
    if seen.comparison is None:
        return "undecided", "The trial was too short to compare its loss with float32's."
    return "fixed", (
        f"The loss ends at {seen.comparison.own:.4g}, in float32 at "
        f"{seen.comparison.reference:.4g}; {seen.skipped} of {seen.steps} steps were skipped."
    )


def lags(evidence: Evidence, losses: Sequence[float | None]) -> str | None:
    """Why a changed script does not train as well as float32 did, None where nothing says so.

    A training that was found wanting by its loss is cured when its loss is. That of the changed
    script may look sound in each step and still learn from what was rounded before the change.

    Args:
        evidence: What was measured before the change.
        losses: The loss of each step after it.
    """
    before, reference = outcome(evidence), evidence.reference
    if reference is None or not before.worse or before.float32_fails:
        return None
    steps = tuple(StepRecord(number, loss) for number, loss in enumerate(losses))
    length = len(evidence.history.steps)
    after = outcome(Evidence(evidence.configuration, History(steps[:length]), (), reference))
    return _fault(after) if after.worse else None


FALLEN_SHARE = 0.9
"""Share of its first level that a loss must fall to, to count as learning."""


def learns(configuration: Configuration, steps: tuple[StepRecord, ...]) -> tuple[TrialVerdict, str]:
    """Whether a training stays finite and its loss falls, where float32 is no yardstick.

    Args:
        configuration: The training as it is set up.
        steps: What the trial did.

    Example:

    >>> falls = tuple(StepRecord(i, 1 / (i + 1)) for i in range(40))
    >>> grows = tuple(StepRecord(i, 2.0**i) for i in range(40))
    >>> setting = Configuration("mixed_float16")
    >>> learns(setting, falls)[0], learns(setting, grows)[0]
    ('fixed', 'not fixed')
    """
    fault = _fault(outcome(Evidence(configuration, History(steps))))
    if fault:
        return "not fixed", fault
    losses = [step.loss for step in steps if step.loss is not None]
    if len(losses) < COMPARABLE_STEPS:
        return "undecided", "The trial was too short to tell whether its loss falls."
    first, last = median(losses[:TAIL_STEPS]), median(losses[-TAIL_STEPS:])
    if first - last < (1 - FALLEN_SHARE) * abs(first):
        return "not fixed", f"The loss does not fall: {first:.4g} at first, {last:.4g} at the end."
    return "fixed", f"The loss falls from {first:.4g} to {last:.4g} in {len(losses)} steps."


def _fault(seen: Outcome) -> str | None:
    if seen.ends_broken or seen.searching:
        return f"It ended in steps that are not finite or skipped ({seen.skipped} skipped)."
    if seen.nonfinite_losses:
        return f"The loss was not finite in {seen.nonfinite_losses} of {seen.steps} steps."
    if seen.wasted:
        return f"{seen.skipped} of {seen.steps} steps were skipped."
    if seen.diverged:
        return "The loss diverged."
    if seen.comparison is not None and seen.comparison.worse:
        own, reference = seen.comparison.own, seen.comparison.reference
        return f"The loss ends at {own:.4g}, in float32 at {reference:.4g}."
    return None


def final_loss(steps: tuple[StepRecord, ...]) -> float | None:
    """Median of the last finite losses; None when there is none."""
    losses = [s.loss for s in steps[-TAIL_STEPS:] if s.loss is not None and not nonfinite(s.loss)]
    return median(losses) if losses else None
