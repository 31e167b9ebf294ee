"""Layers behind one that starts at zero have no gradient in the first step, in float32 either."""

from __future__ import annotations

import pytest

from floatline.findings.judge import judge, needs_reference
from floatline.records import Evidence, Trace
from tests.findings.evidence import Numbers, Sketch, configuration, curve, evidence, steps

START, END = 1.0, 0.02
OWN, FLOAT32 = steps(curve(START, END)), steps(curve(START, END / 2))


def zero_headed(step: int, *, weight: float = 0.5, head: float = 0.0) -> Trace:
    """A block whose gradient is 0 at first, and flushed later; the head learns."""
    sketch = Sketch()
    weights: Numbers = {"role": "parameter", "dtype": "float32"}
    block = sketch.add("invar", variable="block/kernel", max_abs=weight, **weights)
    top = sketch.add("invar", variable="head/kernel", layer="head", max_abs=head, **weights)
    hidden = sketch.add("dot_general", block)
    loss = sketch.loss(sketch.add("dot_general", hidden, top, layer="head"))
    back = sketch.add("dot_general", loss, phase="backward", layer="head")
    numbers: Numbers = {"zero": 100, "shadow_zero": 100, "max_abs": 0.0}
    if step:
        numbers = {"zero": 100, "flushed": 100, "error": 1.0, "max_abs": 1e-8}
    lost = 100 if step else 0
    deep = sketch.add("dot_general", back, phase="backward", local_flushed=lost, **numbers)
    sketch.gradient("block", deep, computed_max_abs=0.0, **numbers)
    sketch.gradient("head", back)
    return sketch.trace(step, "first" if step == 0 else "last")


def trained(last: Trace, reference: float = END / 2) -> Evidence:
    other = steps(curve(START, reference))
    return evidence([zero_headed(0), last], OWN, other, config=configuration(scaling=False))


def test_what_never_moved_was_never_trained_however_low_the_loss() -> None:
    case = trained(zero_headed(39, head=0.3))
    assert needs_reference(case.configuration, case.history, case.traces)
    judgement = judge(case)
    assert judgement.verdict == "precision"
    assert judgement.findings[0].rule == "FL201"


@pytest.mark.parametrize(
    "case",
    [
        trained(zero_headed(39, weight=0.51, head=0.3)),  # It moved, and has no more to learn.
        trained(zero_headed(39)),  # Nothing moved: no layer shows that there is something to learn.
        trained(zero_headed(5, head=0.3)),  # Too early to tell.
        trained(zero_headed(39, head=0.3), END),  # The head alone does as well as float32.
    ],
)
def test_what_is_as_good_as_float32_or_moved_is_healthy(case: Evidence) -> None:
    assert judge(case).verdict == "healthy"
