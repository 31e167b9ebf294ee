"""A loss scale that fell because the forward pass breaks is no cause beside that fault."""

from __future__ import annotations

from floatline.findings.rule import Clear, Found
from floatline.records import Evidence, Trace
from tests.findings.evidence import NAN, Sketch, check, evidence, learns, rules_found, steps
from tests.findings.patients import flushing


def overflowing(phase: str) -> Trace:
    """The first step: something overflows, in the forward pass or behind it."""
    sketch = Sketch()
    spoilt = sketch.add("Relu") if phase == "backward" else sketch.overflow("MatMul")
    loss = sketch.loss(spoilt, **({} if phase == "backward" else {"nan": 1, "poisoned": 1}))
    back = sketch.overflow("MatMul", loss, phase="backward")
    sketch.gradient("block", back, nan=2, poisoned=2)
    return sketch.trace(0, "first", 2.0**15)


def collapsed(phase: str, scale: float | None = 2.0**15) -> Evidence:
    """Most batches break the step; what is left of the scale flushes the others' gradients."""
    skipped = range(30)
    losses = [NAN if i in skipped and phase == "forward" else 1.0 for i in range(40)]
    traces = [overflowing(phase), flushing(2.0**-15, step=39)]
    return evidence(traces, steps(losses, skipped, scale), learns())


def test_the_fault_that_drove_it_down_is_named_alone() -> None:
    assert isinstance(check("FL202", collapsed("forward")), Clear)
    assert "FL101" in rules_found(collapsed("forward"))


def test_a_single_gradient_that_keeps_it_down_leaves_it_too_low() -> None:
    assert isinstance(check("FL202", collapsed("backward")), Found)


def test_a_scale_that_never_fell_was_too_low_by_itself() -> None:
    assert isinstance(check("FL202", collapsed("forward", None)), Found)
