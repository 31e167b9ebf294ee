"""A loss of all pairs of predictions and targets is found, unless they are paired on purpose."""

from __future__ import annotations

import pytest

from floatline.findings.crossings import LEAST_ROWS, crossing
from floatline.findings.judge import judge
from tests.findings.crossed import ROWS, Step
from tests.findings.evidence import collapses, evidence, learns


def test_the_operation_and_both_its_sides_are_named() -> None:
    step = Step()
    away = step.pairs("Sub", step.y, step.predicted)
    found = step.found(step.pairs("Square", away))
    assert found is not None
    assert (found.site.index, found.rows) == (away, ROWS)
    assert (found.predicted.index, found.given.index) == (step.predicted, step.y)
    assert found.only


@pytest.mark.parametrize("rows", [LEAST_ROWS - 1, LEAST_ROWS])
def test_few_rows_prove_nothing(rows: int) -> None:
    step = Step(rows)
    found = step.found(step.pairs("Sub", step.predicted, step.y))
    assert (found is not None) is (rows >= LEAST_ROWS)


def test_rows_that_meet_their_own_are_no_crossing() -> None:
    step = Step()
    assert step.found(step.row("Sub", step.predicted, step.y)) is None


def test_what_does_not_reach_the_loss_is_none() -> None:
    step = Step()
    step.pairs("Sub", step.predicted, step.y)
    assert step.found(step.row("Sub", step.predicted, step.y)) is None


def test_a_mask_of_pairs_makes_them_wanted() -> None:
    step = Step()
    near = step.pairs("Sub", step.y, step.y)
    away = step.pairs("Sub", step.predicted, step.y)
    assert step.found(step.pairs("Mul", near, away)) is None


def test_predictions_that_meet_each_other_make_them_wanted() -> None:
    step = Step()
    across = step.pairs("Sub", step.predicted, step.y)
    within = step.pairs("Sub", step.predicted, step.predicted)
    assert step.found(across, within) is None


@pytest.mark.parametrize("reduction", ["Min", "LogSumExp", "Softmax", "MatMul"])
def test_rows_that_keep_a_meaning_make_them_wanted(reduction: str) -> None:
    step = Step()
    away = step.pairs("Sub", step.predicted, step.y)
    assert step.found(step.row(reduction, away)) is None


@pytest.mark.parametrize(("then", "harmless"), [("Neg", False), ("Mul", False), ("Log", True)])
def test_the_sum_of_a_row_may_only_be_scaled(then: str, harmless: bool) -> None:
    step = Step()
    total = step.row("Sum", step.pairs("Sub", step.predicted, step.y))
    assert (step.found(step.row(then, total)) is None) is harmless


def test_values_of_other_sizes_are_no_rows() -> None:
    step = Step()
    table = step.pairs("Input", step.y)
    assert step.found(step.pairs("Mul", step.predicted, table)) is None


def test_what_is_drawn_is_not_the_batch() -> None:
    step = Step()
    noise = step.row("RandomStandardNormal", layer=None)
    assert step.found(step.pairs("Sub", step.predicted, noise)) is None


def test_whole_numbers_of_the_batch_are_targets_too() -> None:
    step = Step()
    label = step.row("Cast", layer=None)
    assert step.found(step.pairs("Sub", step.predicted, label)) is not None


@pytest.mark.parametrize("pairs", [True, False])
def test_a_loss_in_one_operation_is_known_by_its_gradient(pairs: bool) -> None:
    step = Step()
    whole = step.sketch.add("mse_loss", step.predicted, step.y, count=1, layer=None)
    step.sketch.losses.append(whole)
    count = ROWS * ROWS if pairs else ROWS
    back = ("mse_loss_backward", step.predicted, step.y)
    step.sketch.gradient("block", step.sketch.add(*back, count=count, phase="backward"))
    assert (crossing(step.sketch.trace()) is not None) is pairs


def test_beside_a_loss_that_pairs_its_rows_it_is_advice() -> None:
    step = Step()
    own = step.row("Sub", step.predicted, step.y, layer=None)
    found = step.found(step.pairs("Mul", own, step.x))
    assert found is not None
    assert not found.only
    judgement = judge(evidence([step.sketch.trace()], learns(), learns()))
    assert judgement.verdict == "healthy"
    assert [(f.rule, f.severity) for f in judgement.findings] == [("FL605", "advice")]


def test_a_layer_that_adds_its_input_is_no_other_way_to_the_loss() -> None:
    step = Step()
    added = step.row("Add", step.predicted, step.x, layer="residual")
    found = step.found(step.pairs("Sub", added, step.y))
    assert found is not None
    assert found.only


def test_a_fault_of_precision_comes_first() -> None:
    step = Step()
    sketch = step.sketch
    spoilt = sketch.overflow("MatMul", step.predicted, layer="head", count=ROWS)
    away = step.pairs("Sub", step.y, step.predicted)
    sketch.gradient("block", sketch.loss(spoilt, away, nan=1, poisoned=1), nan=2, poisoned=2)
    judgement = judge(evidence([sketch.trace()], collapses(), learns()))
    assert judgement.verdict == "precision"
    assert [f.rule for f in judgement.findings][-1] == "FL605"
