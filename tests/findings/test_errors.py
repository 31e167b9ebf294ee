"""A training whose step raised: the error is the end of a fault, or no fault of the numbers."""

from __future__ import annotations

import dataclasses

from floatline.findings.judge import explained, judge
from floatline.records import Evidence, History, Reference, StepRecord
from tests.findings.evidence import NAN, Sketch, configuration, steps

RAISED = "RuntimeError: between 0 and 1 (at train.py:3)"
ENDED = History((StepRecord(0, NAN, raised=RAISED),), "error")
TRAINS = Reference(steps([1.0] * 21))


def evidence(sketch: Sketch, reference: Reference = TRAINS) -> Evidence:
    trace = dataclasses.replace(sketch.trace(moment="symptom"), raised=RAISED)
    return Evidence(configuration(), ENDED, (trace,), reference)


def overflowing() -> Sketch:
    """A square that overflows, and a probability made of it, at which the step ended."""
    sketch = Sketch()
    square = sketch.overflow("Square", sketch.add("Placeholder"))
    sketch.passes("Sigmoid", square)
    return sketch


def test_what_the_step_had_in_hand_leads_to_the_cause() -> None:
    seen = evidence(overflowing())
    judgement = judge(seen)
    assert judgement.verdict == "precision"
    assert judgement.explanation.startswith(f"Step 0 raised {RAISED}.")
    assert judgement.findings[0].evidence["saturated_elements"] == 2
    assert explained(judgement, seen)


def test_an_error_among_finite_numbers_is_not_explained() -> None:
    sketch = Sketch()
    sketch.add("Sigmoid", sketch.add("Placeholder"))
    seen = evidence(sketch)
    assert not explained(judge(seen), seen)


def test_a_fault_that_the_error_has_nothing_to_do_with_does_not_explain_it() -> None:
    fault = judge(evidence(overflowing()))
    sketch = Sketch()
    sketch.add("Sigmoid", sketch.add("Placeholder"))
    assert not explained(fault, evidence(sketch))


def test_a_trace_that_did_not_raise_is_not_judged_by_what_nobody_read() -> None:
    whole = dataclasses.replace(evidence(overflowing()).traces[0], raised=None)
    seen = Evidence(configuration(), History(steps([1.0] * 40)), (whole,), TRAINS)
    assert judge(seen).verdict == "healthy"


def test_gradients_that_float32_loses_after_the_error_are_its_own_fault() -> None:
    lost = StepRecord(0, 0.7, finite_gradients=False, nonfinite_variables=("dense/kernel",))
    fails = Reference((lost, StepRecord(1, NAN, raised=RAISED)))
    judgement = judge(evidence(overflowing(), fails))
    assert judgement.verdict == "not-precision"
    assert judgement.findings[0].rule == "FL604"
    assert "dense/kernel" in judgement.findings[0].summary


def test_a_loss_that_leaps_in_float32_diverges() -> None:
    lost = StepRecord(1, 1e30, finite_gradients=False, nonfinite_variables=("dense/kernel",))
    fails = Reference((StepRecord(0, 0.7), lost, StepRecord(2, NAN, raised=RAISED)))
    judgement = judge(evidence(overflowing(), fails))
    assert judgement.findings[0].rule == "FL602"
