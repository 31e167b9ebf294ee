"""Faults that leave all values finite: where rounded integers are shown, and what bounds hide."""

from __future__ import annotations

import dataclasses

import pytest

from floatline.findings.judge import needs_reference
from floatline.records import Evidence, SourceLine, StepRecord, Trace
from tests.findings.evidence import (
    Numbers,
    Sketch,
    conclude,
    configuration,
    curve,
    evidence,
    rules_found,
    steps,
)
from tests.findings.patients import identifiers

MADE, TAKEN = SourceLine("/home/me/train.py", 40), SourceLine("/home/me/train.py", 30)


def rounded(made: SourceLine | None, taken: SourceLine | None) -> Evidence:
    """The ids are rounded at one line and become integers at another."""
    case = identifiers()
    sites = list(case.traces[0].sites)
    for index, source in ((1, made), (2, taken)):
        place = dataclasses.replace(sites[index].place, source=source)
        sites[index] = dataclasses.replace(sites[index], place=place)
    trace = dataclasses.replace(case.traces[0], sites=tuple(sites))
    return dataclasses.replace(case, traces=(trace,))


def said(made: SourceLine | None, taken: SourceLine | None) -> str:
    finding = conclude(rounded(made, taken)).findings[0]
    assert finding.rule == "FL303"
    assert finding.place is not None
    assert finding.place.source == made
    return finding.summary


def test_both_lines_are_told_where_they_are_two() -> None:
    assert said(MADE, TAKEN).endswith("come out wrong at train.py:30")
    assert said(TAKEN, TAKEN).endswith("come out wrong")
    assert said(MADE, None).endswith("come out wrong")
    assert said(None, TAKEN).endswith("come out wrong at train.py:30")


def test_the_format_that_rounds_is_told_and_not_that_of_the_integer() -> None:
    assert conclude(identifiers()).findings[0].evidence["format_max"] == 65504


def corrected(power: float = 1e-3, beta: float = 0.999, count: int = 1) -> Trace:
    """Adam's first step in bfloat16: its bias correction is 1 - beta_2, which is 0 there."""
    sketch = Sketch()
    kernel = sketch.add("ReadVariableOp", role="parameter", dtype="bfloat16", variable="w")
    sketch.gradient("block", sketch.loss(kernel), dtype="bfloat16")
    update: Numbers = {"phase": "update", "layer": None, "dtype": "bfloat16", "count": count}
    raised = sketch.add("Pow", error=power, max_abs=beta, **update)
    rest = sketch.add("Sub", raised, zero=1, flushed=1, error=1.0, max_abs=1 - beta, **update)
    sketch.add("Mul", rest, zero=1, flushed=1, error=1.0, **update)
    return sketch.trace()


PURE = configuration("bfloat16", "bfloat16", "bfloat16", scaling=False)


def test_a_correction_of_the_optimizer_that_is_0_is_named_before_what_it_stops() -> None:
    case = evidence([corrected()], flat(0.7), steps(curve(0.7, 0.1)), config=PURE)
    found, kept = conclude(case).findings
    assert (found.rule, found.phase, kept.rule) == ("FL305", "update", "FL502")
    assert "where float32 has 0.001" in found.summary
    assert any("beta_2" in remedy for remedy in found.remedies)
    well = steps(curve(0.7, 0.1))
    assert rules_found(evidence([corrected()], well, well, config=PURE)) == ["FL502"]


@pytest.mark.parametrize(
    "trace", [corrected(power=0.1), corrected(count=9)], ids=["was wrong before", "one of nine"]
)
def test_a_difference_that_vanishes_for_another_reason_is_not_named(trace: Trace) -> None:
    case = evidence([trace], flat(0.7), steps(curve(0.7, 0.1)), config=PURE)
    assert rules_found(case) == ["FL502"]


def difference(error: float, rounded: float = 4e-4, operation: str = "Sub") -> Trace:
    """Two predictions of a float32 output layer, and a float32 operation on them."""
    sketch = Sketch()
    hidden = sketch.add("Tanh", error=rounded, local_error=rounded)
    near, far = (sketch.add("MatMul", hidden, dtype="float32", error=rounded) for _ in range(2))
    apart = sketch.add(operation, near, far, layer=None, dtype="float32", error=error)
    loss = sketch.loss(sketch.add("Square", apart, layer=None, dtype="float32", error=error))
    sketch.gradient("block", loss, error=min(error, 0.9))
    return sketch.trace(0, "first", 2.0**15)


def test_float32_that_cancels_what_was_rounded_before_is_named() -> None:
    case = evidence([difference(0.9)], flat(0.5), steps(curve(0.5, 0.1)))
    (finding,) = conclude(case).findings
    assert finding.place is not None
    assert (finding.rule, finding.place.operation, finding.place.layer) == ("FL301", "Sub", None)
    assert "cancels, in float32, what was rounded" in finding.summary
    assert "too: the layers that it comes from" in finding.remedies[0]


def test_the_sine_in_float32_of_an_angle_that_was_rounded_before_is_named_at_the_rounding() -> None:
    def angle(cast: str) -> Trace:
        sketch = Sketch()
        times = sketch.add("x", role="input", dtype="float32", layer=None, max_abs=1e3)
        error, wrong = (1.2e-3, 0.24) if cast == "bfloat16" else (0.0, 0.0)
        rounded = sketch.add("Cast", times, dtype=cast, max_abs=1e3, error=error)
        wide = sketch.add("Cast", rounded, dtype="float32", max_abs=1e3, error=error)
        wave = sketch.add("Sin", wide, dtype="float32", error=wrong)
        loss = sketch.loss(sketch.add("MatMul", wave, dtype="bfloat16", error=wrong))
        sketch.gradient("block", loss, error=wrong)
        return sketch.trace(0, "first")

    config = configuration("mixed_bfloat16", "bfloat16", scaling=False)
    case = evidence([angle("bfloat16")], flat(0.5), steps(curve(0.5, 0.1)), config=config)
    (finding,) = conclude(case).findings
    assert finding.place is not None
    assert (finding.rule, finding.place.operation) == ("FL301", "Cast")
    assert "folds in float32" in finding.summary
    assert finding.remedies[0].startswith("Compute the difference or the angle")
    exact = evidence([angle("float32")], flat(0.5), steps(curve(0.5, 0.1)), config=config)
    assert "FL301" not in rules_found(exact)


@pytest.mark.parametrize(
    "trace",
    [difference(0.05), difference(0.9, rounded=0.0), difference(0.9, rounded=0.05),
     difference(0.9, operation="Atan2")],
    ids=["few digits", "nothing was rounded", "was wrong before", "is no difference"],
)  # fmt: skip
def test_float32_is_not_blamed_for_more_than_it_cancels(trace: Trace) -> None:
    case = evidence([trace], flat(0.5), steps(curve(0.5, 0.1)))
    assert "FL301" not in rules_found(case)


def test_a_residual_that_cancels_as_it_should_is_healthy() -> None:
    well = steps(curve(0.5, 0.1))
    assert conclude(evidence([difference(0.9)], well, well)).verdict == "healthy"


@pytest.mark.parametrize(("error", "asked"), [(0.9, True), (0.05, False)])
def test_a_loss_that_strays_in_the_first_step_asks_float32(error: float, asked: bool) -> None:
    sketch = Sketch()
    sketch.loss(sketch.add("Mul", error=error), error=error)
    case = evidence([sketch.trace(0, "first", 2.0**15)])
    assert needs_reference(case.configuration, case.history, case.traces) is asked


def likelihood(
    flushed: int, step: int = 0, bound: str = "Maximum", operation: str = "Exp"
) -> Trace:
    """A likelihood that float16 flushes, under a bound that its dtype chose: `finfo.tiny`."""
    sketch = Sketch()
    exponent = sketch.add("Mul")
    lost: Numbers = {"zero": flushed, "flushed": flushed}
    power = sketch.add(operation, exponent, local_flushed=flushed, **lost)
    density = sketch.add("RealDiv", power, exponent, **lost)
    floor = sketch.literal(6.1e-5)
    loss = sketch.loss(sketch.add("Log", sketch.add(bound, density, floor)))
    sketch.gradient("block", loss, zero=100, shadow_zero=100, max_abs=0.0)
    return sketch.trace(step, "last" if step else "first")


def flat(loss: float) -> tuple[StepRecord, ...]:
    return steps([loss] * 40)


def bounded(flushed: int, rebuilt: tuple[StepRecord, ...], bound: str = "Maximum") -> Evidence:
    """The same operations in float32 stand still as well, for the bound is a number there."""
    traces = [likelihood(flushed, step, bound) for step in (0, 39)]
    return evidence(traces, flat(9.7), flat(9.7), flat(9.7), rebuilt=rebuilt)


def test_what_a_bound_of_the_dtype_hides_is_found_where_float32_chooses_another() -> None:
    judgement = conclude(bounded(98, steps(curve(9.7, 2.3))))
    assert judgement.verdict == "precision"
    (finding,) = judgement.findings
    assert finding.place is not None
    assert (finding.rule, finding.place.operation) == ("FL204", "Exp")


def test_probabilities_under_a_bound_are_told_as_those_of_a_softmax() -> None:
    traces = [likelihood(98, step, operation="Softmax") for step in (0, 39)]
    rebuilt = steps(curve(9.7, 2.3))
    case = evidence(traces, flat(9.7), flat(9.7), flat(9.7), rebuilt=rebuilt)
    assert conclude(case).findings[0].rule == "FL205"


@pytest.mark.parametrize("rebuilt", [(), flat(9.7)], ids=["not known", "stalls"])
def test_a_bound_that_holds_in_float32_as_well_is_no_fault_of_the_precision(
    rebuilt: tuple[StepRecord, ...],
) -> None:
    judgement = conclude(bounded(98, rebuilt))
    assert (judgement.verdict, judgement.findings[0].rule) == ("not-precision", "FL603")


@pytest.mark.parametrize(("flushed", "bound"), [(20, "Maximum"), (98, "Neg")])
def test_what_is_flushed_is_not_named_unless_a_bound_takes_its_place(
    flushed: int, bound: str
) -> None:
    judgement = conclude(bounded(flushed, steps(curve(9.7, 2.3)), bound))
    assert (judgement.verdict, judgement.findings) == ("undecided", ())
    assert "no rule can name" in judgement.explanation


def test_attention_that_vanishes_beside_a_bound_stays_healthy() -> None:
    well = steps(curve(9.7, 2.3))
    traces = [likelihood(98, step) for step in (0, 39)]
    assert rules_found(evidence(traces, well, well, well, rebuilt=well)) == []
