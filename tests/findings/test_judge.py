"""Verdicts, order of findings, and when nothing can be told."""

from __future__ import annotations

import dataclasses
import math

import pytest

from floatline.findings.judge import LONGER, judge, needs_reference
from floatline.records import Evidence, Trace
from tests.findings.evidence import (
    NAN,
    Build,
    Numbers,
    Sketch,
    collapses,
    configuration,
    curve,
    evidence,
    learns,
    rules_found,
    stalls,
    steps,
)
from tests.findings.patients import (
    activation,
    backward,
    collapse,
    flushing,
    late_policy,
    logarithm_of_zero,
    no_scaling,
    position,
    pure_half,
    variance,
)


def test_the_division_model() -> None:
    """Nine of 40 steps are skipped; two elements reach 9.8e4 in the backward division."""
    judgement = judge(backward())
    finding = judgement.findings[0]
    assert judgement.verdict == "precision"
    assert finding.place is not None
    assert (finding.rule, finding.phase, finding.place.layer) == ("FL110", "backward", "div")
    assert finding.evidence["saturated_elements"] == 2
    assert finding.evidence["shadow_max_abs"] == 98304.0
    assert finding.evidence["skipped_steps"] == 9
    assert "2 of 100 elements" in finding.summary
    assert "train.py:15" in finding.summary
    assert "9 of 40 steps were skipped" in judgement.explanation


def test_the_overflow_comes_before_its_symptom_and_folds_what_it_spreads_to() -> None:
    assert rules_found(activation()) == ["FL101", "FL401"]
    assert judge(activation()).findings[0].propagation == 4


def test_a_vanishing_gradient_names_the_share_of_each_layer() -> None:
    finding = judge(no_scaling()).findings[0]
    assert finding.evidence["flushed_share[block]"] == 1.0
    assert finding.evidence["flushed_share[head]"] == 0.0


def test_layers_that_stand_still_are_a_risk_before_the_loss_shows_it() -> None:
    case = no_scaling()
    early = Evidence(case.configuration, case.history, case.traces)
    judgement = judge(early)
    assert [f.rule for f in judgement.findings] == ["FL201"]
    assert "at risk" in judgement.explanation
    same = evidence(case.traces, learns(), learns(), config=configuration(scaling=False))
    assert rules_found(same) == ["FL201"]


@pytest.mark.parametrize(("scale", "rule"), [(None, "FL201"), (128.0, "FL202")])
def test_a_loss_scale_that_no_step_uses_is_none(scale: float | None, rule: str) -> None:
    """Keras wraps a model's optimizer, and a step of its own may use another."""
    own = tuple(dataclasses.replace(step, loss_scale=scale) for step in stalls())
    traces = [dataclasses.replace(trace, loss_scale=scale) for trace in no_scaling().traces]
    case = evidence(traces, own, learns(), config=configuration(scaling=True))
    assert rules_found(case) == [rule]


def test_flushed_gradients_of_one_step_wait_for_the_reference() -> None:
    traces = [flushing(share=0.0), flushing(share=0.7, step=39)]
    judgement = judge(evidence(traces, config=configuration(scaling=False)))
    assert judgement.verdict == "undecided"
    assert "float32 reference" in judgement.explanation


@pytest.mark.parametrize("build", [variance, position])
def test_silent_faults_wait_for_the_reference(build: Build) -> None:
    case = build()
    alone = Evidence(case.configuration, case.history, case.traces)
    assert needs_reference(alone.configuration, alone.history, alone.traces)
    assert judge(alone).verdict == "undecided"


def test_float32_that_fails_in_the_same_way_comes_first() -> None:
    case = activation()
    judgement = judge(evidence(case.traces, case.history.steps, collapses()))
    assert judgement.verdict == "not-precision"
    assert [f.rule for f in judgement.findings] == ["FL602"]


def test_a_first_loss_that_is_not_finite_in_float32_is_not_the_learning_rate() -> None:
    case = activation()
    early = judge(evidence(case.traces, case.history.steps, collapses())).findings[0]
    assert "before any update" in early.summary
    assert not any("learning rate" in remedy for remedy in early.remedies)
    assert early.place is None  # What was traced is finite in float32.
    later = steps([1.0] * 5 + [NAN] * 35, range(5, 40), 2.0**15)
    grown = judge(evidence(case.traces, later, later)).findings[0]
    assert grown.rule == "FL602"
    assert any("learning rate" in remedy for remedy in grown.remedies)


def test_a_finite_loss_is_not_said_to_end_non_finite() -> None:
    case, skipped = activation(), collapses(1.0)
    (found,) = judge(evidence(case.traces, skipped, skipped)).findings
    assert found.rule == "FL602"
    assert "gradients stay non-finite" in found.summary
    assert not any("Lower the learning rate" in remedy for remedy in found.remedies)
    once = steps([1.0] * 40, range(1, 40), 2.0**15)
    assert any("Lower" in r for r in judge(evidence(case.traces, once, once)).findings[0].remedies)
    later = steps([1.0] * 5 + [NAN] * 35, range(5, 40), 2.0**15)
    assert "loss ends non-finite" in judge(evidence(case.traces, later, later)).findings[0].summary


def test_the_line_is_named_at_which_float32_is_not_finite_at_first() -> None:
    sketch = Sketch()
    large = sketch.passes("Mul", sketch.add("MatMul"), max_abs=1e27)
    square = sketch.passes("Square", large, shadow_inf=2, poisoned=0)
    sketch.loss(sketch.passes("Mean", square, shadow_inf=1, poisoned=0))
    early = judge(evidence([sketch.trace()], collapses(), collapses())).findings[0]
    assert early.rule == "FL602"
    assert early.place is not None
    assert early.place.operation == "Square"
    assert "the first that is not is Square in layer 'block'" in early.summary


def test_a_trace_that_the_compiled_step_contradicts_decides_nothing() -> None:
    sketch = Sketch()
    spoilt = sketch.overflow("Conv2D", sketch.add("Relu"))
    sketch.gradient("block", sketch.loss(spoilt, nan=1, poisoned=1), nan=1, poisoned=1)
    for agrees, verdict in ((False, "undecided"), (True, "precision"), (None, "precision")):
        trace = sketch.trace(0, "symptom", 2.0**15, agrees=agrees)
        assert judge(evidence([trace], collapses(), learns())).verdict == verdict
    checks = judge(evidence([sketch.trace(agrees=False)], collapses(), learns())).checks
    missing = next(check.missing for check in checks if check.rule == "FL101")
    assert missing is not None
    assert "compiler or kernel" in missing


def test_a_collapse_that_nothing_explains() -> None:
    case = collapse()
    assert judge(case).verdict == "precision"
    assert rules_found(case) == ["FL401"]
    alone = Evidence(case.configuration, case.history, case.traces)
    assert judge(alone).verdict == "undecided"


def test_a_watch_that_ends_during_the_search_is_undecided() -> None:
    own = steps([1.0] * 4, range(4), 2.0**15)
    judgement = judge(evidence(backward().traces, own))
    assert judgement.verdict == "undecided"
    assert "search for a loss scale had not ended" in judgement.explanation


def test_worse_training_that_no_rule_explains_is_undecided() -> None:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    judgement = judge(evidence([sketch.trace()], stalls(), learns()))
    assert (judgement.verdict, judgement.findings) == ("undecided", ())


def test_nothing_traced_is_undecided_in_half_precision_only() -> None:
    assert judge(evidence()).verdict == "undecided"
    full = configuration("float32", "float32", scaling=False)
    assert judge(evidence(config=full)).verdict == "healthy"


@pytest.mark.parametrize(
    ("skipped", "words"),
    [(4, "4 of 200 steps skipped are a normal search"), (18, "the loss scale is 0.125 by now")],
)
def test_more_skips_than_a_search_needs_are_not_called_one(skipped: int, words: str) -> None:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    history = steps(curve(1.0, 0.1, 200), range(skipped), 2.0**15)
    judgement = judge(evidence([sketch.trace()], history))
    assert judgement.verdict == "healthy"
    assert words in judgement.explanation


def test_advice_leaves_the_verdict_healthy_and_comes_last() -> None:
    judgement = judge(late_policy())
    assert (judgement.verdict, judgement.findings[0].severity) == ("healthy", "advice")
    case = pure_half()
    well = evidence(case.traces, learns(), learns(), config=case.configuration)
    assert [(f.rule, f.severity) for f in judge(well).findings] == [("FL502", "advice")]
    assert judge(well).verdict == "healthy"


def test_a_forward_fault_is_named_although_an_earlier_step_overflowed_in_the_search() -> None:
    search, fault = backward().traces[0], activation().traces[0]
    own = steps([*curve(1.0, 0.3, 30), *[NAN] * 10], (0, 1, *range(30, 40)), 2.0**15)
    assert rules_found(evidence([search, fault], own, learns()))[0] == "FL101"


def test_the_overflow_at_the_lowest_scale_is_the_fault() -> None:
    def trace(layer: str, step: int, scale: float) -> Trace:
        sketch = Sketch()
        start = sketch.overflow("Mul", sketch.loss(), phase="backward", layer=layer)
        sketch.gradient(layer, start, nan=1, poisoned=1)
        return sketch.trace(step, "symptom", scale)

    traces = [trace("search", 0, 2.0**15), trace("fault", 39, 1.0)]
    finding = judge(evidence(traces, collapses(0.5), learns())).findings[0]
    assert finding.place is not None
    assert finding.place.layer == "fault"


def test_silent_faults_are_not_hidden_by_the_search() -> None:
    """Recipe 27: a few skipped steps at the start, and positions that cancel."""
    case = position()
    own = steps([1.0] * 40, range(4), 2.0**15)
    traces = (*backward().traces, *case.traces)
    assert rules_found(evidence(traces, own, learns())) == ["FL301"]


def test_an_origin_behind_an_untraced_operation_is_named_unconfirmed() -> None:
    sketch = Sketch()
    sketch.overflow("Conv2D", sketch.add("Relu"))
    sketch.gradient("block", sketch.loss(nan=1, poisoned=1), nan=1, poisoned=1)
    finding = judge(evidence([sketch.trace()], collapses(), learns())).findings[0]
    assert (finding.rule, finding.evidence["path_confirmed"]) == ("FL101", False)


def test_non_finite_in_float32_but_masked_is_not_reported() -> None:
    case = logarithm_of_zero()
    assert judge(evidence(case.traces, learns(), learns())).findings == ()


@pytest.mark.parametrize(
    ("own", "float32", "named"), [(20, 20, True), (20, 5, False), (0, 0, False), (5, 20, False)]
)
def test_steps_that_float32_loses_as_often_are_not_the_precisions(
    own: int, float32: int, named: bool
) -> None:
    """A root of 0 in some batches: a loss scale skips those, and falls until nothing is left."""
    sketch = Sketch()
    root = sketch.add("Sqrt", max_abs=1.0)
    broken: Numbers = {"phase": "backward", "inf": 4, "shadow_inf": 4, "local_nonfinite": 4}
    sketch.gradient("block", sketch.add("SqrtGrad", root, sketch.loss(root), **broken), **broken)
    skipped = steps(curve(1.0, 0.1), range(0, 2 * own, 2), 2.0**15)
    again = steps(curve(1.0, 0.1), bad=range(0, 2 * float32, 2))
    judgement = judge(evidence([sketch.trace()], skipped, again))
    assert (judgement.verdict == "not-precision") is named
    assert ("FL604" in [finding.rule for finding in judgement.findings[:1]]) is named


def dead_but_for_a_bias(losses: list[float]) -> Evidence:
    """All weights without gradient except the last bias: a network that starts at zero."""
    own = steps(losses)
    return evidence([dead_at(0), dead_at(39)], own, own)


def dead_at(step: int, zeros: int = 100) -> Trace:
    """A step in which so many of 100 elements of a gradient are 0, and that of a bias is not."""
    sketch = Sketch()
    loss = sketch.loss(sketch.add("MatMul", zero=zeros, shadow_zero=zeros))
    largest = 0.0 if zeros == 100 else 1.0
    sketch.gradient("block", loss, zero=zeros, shadow_zero=zeros, max_abs=largest)
    sketch.gradient("head", loss, count=1)
    return sketch.trace(step, "first" if step == 0 else "last")


def test_one_bias_that_moves_does_not_make_a_dead_network_live() -> None:
    judgement = judge(dead_but_for_a_bias([0.693, 0.699, 0.688, 0.694] * 10))
    assert judgement.verdict == "not-precision"
    assert judgement.findings[0].rule == "FL603"
    assert judgement.findings[0].evidence["weights"] == 101


THROWN = [1.616, 1000.0, 90.0, *[1.63, 1.61, 1.62] * 12]
"""The first update throws the loss off; it ends where it began."""


@pytest.mark.parametrize(
    ("reference", "verdict"),
    [(THROWN, "not-precision"), (curve(1.6, 0.1), "undecided"), (None, "undecided")],
)
def test_a_network_that_died_on_the_way_is_dead_if_float32_does_no_better(
    reference: list[float] | None, verdict: str
) -> None:
    other = None if reference is None else steps(reference)
    case = evidence([dead_at(0, zeros=10), dead_at(38)], steps(THROWN), other)
    assert needs_reference(case.configuration, case.history, case.traces)
    judgement = judge(case)
    assert judgement.verdict == verdict
    if verdict == "not-precision":
        assert [f.rule for f in judgement.findings] == ["FL603"]
        assert "learning rate" in judgement.findings[0].remedies[0]


@pytest.mark.parametrize(
    "losses",
    [
        curve(1.6, 0.1),  # Learned, and the last batch has nothing to teach.
        [1.6, *[0.0] * 38],  # Solved: a hinge loss.
    ],
)
def test_a_network_that_learned_before_is_not_dead(losses: list[float]) -> None:
    case = evidence([dead_at(0, zeros=10), dead_at(38)], steps(losses), steps(losses))
    assert judge(case).verdict == "healthy"


def test_a_loss_that_falls_is_not_dead_whatever_its_last_batch_says() -> None:
    falling = curve(1.0, 0.2)
    assert judge(dead_but_for_a_bias([*falling[:-1], 1.1])).verdict == "healthy"


def test_batches_that_differ_do_not_make_a_dead_network_live() -> None:
    noisy = [1.0 + 0.3 * math.sin(7.0 * i * i) for i in range(80)]
    assert judge(dead_but_for_a_bias([*noisy[:-5], *[0.8] * 5])).verdict == "not-precision"
    falling = [loss - 0.01 * i for i, loss in enumerate(noisy)]
    assert judge(dead_but_for_a_bias(falling)).verdict == "healthy"


def test_a_watch_that_time_cut_short_says_that_it_needs_more() -> None:
    traces = [flushing(share=0.0), flushing(share=0.7, step=4)]
    own = configuration(scaling=False)
    few = evidence(traces, learns()[:5], learns()[:5], config=own)
    cut = dataclasses.replace(few, history=dataclasses.replace(few.history, stopped="budget"))
    assert judge(cut).verdict == "undecided"
    assert judge(cut).explanation.endswith(LONGER)
    assert LONGER not in judge(few).explanation


def test_an_infinite_ctc_loss_is_told_of_its_targets() -> None:
    case = logarithm_of_zero()
    trace = case.traces[0]
    sites = tuple(
        dataclasses.replace(s, place=dataclasses.replace(s.place, operation="_ctc_loss"))
        if s.place.operation == "Log"
        else s
        for s in trace.sites
    )
    other = dataclasses.replace(case, traces=(dataclasses.replace(trace, sites=sites),))
    assert "targets longer" in judge(other).findings[0].remedies[0]
    assert "targets" not in judge(case).findings[0].remedies[0]
