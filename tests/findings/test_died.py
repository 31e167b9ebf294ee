"""A network that dies on the way is dead also where its first loss was far above its last."""

from __future__ import annotations

import pytest

from floatline.findings.judge import judge, needs_reference
from floatline.records import Evidence, Trace
from tests.findings.evidence import Sketch, curve, evidence, steps

FAR_OFF = [2910.0, *[0.3217] * 39]
"""Sums over many neighbours start far off; after one update nothing answers any more."""


def relu_at(step: int, *, dead: bool, gone: bool) -> Trace:
    """A network of one activation, which may be dead, and so may its gradient."""
    zeros = 100 if dead else 40
    lost = 100 if gone else 0
    sketch = Sketch()
    hidden = sketch.add("max", sketch.add("dot_general"), zero=zeros, shadow_zero=zeros)
    loss = sketch.loss(hidden)
    largest = 0.0 if gone else 1.0
    sketch.gradient("block", loss, zero=lost, shadow_zero=lost, max_abs=largest)
    return sketch.trace(step, "first" if step == 0 else "last")


def dies(losses: list[float], *, before: bool = False, after: bool = True) -> Evidence:
    first = relu_at(0, dead=before, gone=False)
    return evidence([first, relu_at(39, dead=after, gone=True)], steps(losses), steps(losses))


def test_a_loss_that_fell_once_and_stands_still_behind_a_dead_activation() -> None:
    case = dies(FAR_OFF)
    assert needs_reference(case.configuration, case.history, case.traces)
    judgement = judge(case)
    assert judgement.verdict == "not-precision"
    assert [finding.rule for finding in judgement.findings] == ["FL603"]
    assert "outputs of max" in judgement.findings[0].summary


@pytest.mark.parametrize(
    "case",
    [
        dies(FAR_OFF, after=False),  # Nothing has died: the last batch may be answered.
        dies(FAR_OFF, before=True),  # It was so from the start, and did no harm.
        dies([2910.0, *[0.0] * 39]),  # Solved.
        dies(curve(2910.0, 0.3217)),  # It went on learning.
        dies([2910.0, *[0.0] * 8]),  # Solved, in few steps.
        dies(FAR_OFF[:12], after=False),
    ],
)
def test_what_does_not_show_that_it_is_dead(case: Evidence) -> None:
    assert judge(case).verdict == "healthy"


@pytest.mark.parametrize("count", [2, 5, 9, 14])
def test_too_few_steps_to_say_that_a_dead_network_stands_still(count: int) -> None:
    judgement = judge(dies(FAR_OFF[:count]))
    assert judgement.verdict == "undecided"
    assert "more steps, for an activation has died" in judgement.explanation
