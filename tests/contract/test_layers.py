"""Every layer of Keras is traced alike on every backend, and as float32 computes it.

Layers are examined in groups, side by side in one model, so that each group is compiled once.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet

from floatline.findings.graph import graph
from floatline.records import Statistics
from tests.contract.layer_cases import (
    GROUPS,
    IMPOSSIBLE,
    IN_PIECES,
    LEFT_OUT,
    OTHERWISE,
    UNCOMPILED,
    UNLIKE,
    Case,
    layer_classes,
)
from tests.contract.layer_models import build
from tests.contract.layer_steps import differences, possible, reference, traced
from tests.contract.samples import policy

pytestmark = [
    # Keras transposes a tensor without axes, of which PyTorch warns.
    pytest.mark.filterwarnings("ignore:Tensor.T is deprecated:UserWarning"),
    # TensorFlow warns of the 1 / epsilon in UnitNormalization, which float16 does not hold.
    pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning"),
]

BACKEND = keras.backend.backend()
CASES = [
    (group, case)
    for group in GROUPS
    for case in possible(group)
    if case.name not in OTHERWISE[BACKEND]
]
QUICK = {"simple", "attention", "normalization", "merging", "moving"}
"""Groups of every run; `pytest -m layers_all` examines the others, for minutes on JAX."""


def marked(group: str, *more: Case) -> ParameterSet:
    slow = [] if group in QUICK else [pytest.mark.layers_all]
    return pytest.param(group, *more, marks=slow, id=more[0].name if more else group)


every_group = pytest.mark.parametrize("group", list(map(marked, GROUPS)))
every_layer = pytest.mark.parametrize(("group", "case"), [marked(*found) for found in CASES])

ROUNDING = 2e-4
"""Largest error beside the largest value: float32's epsilon times the terms of small sums, and
what is left of it where a normalization divides by a small spread."""

HALF_ROUNDING = 2e-2
"""The same for layers that draw random numbers: the float32 step draws, and rounds, in float16."""

STORED = json.loads((Path(__file__).parent / "layers.json").read_text(encoding="utf-8"))


def near(case: Case) -> float:
    return HALF_ROUNDING if case.draws else ROUNDING


def test_every_layer_class_is_examined_or_left_out_for_a_reason() -> None:
    examined = [case.name for cases in GROUPS.values() for case in cases]
    assert sorted([*examined, *LEFT_OUT]) == sorted(layer_classes())


@pytest.mark.parametrize(("name", "error"), IMPOSSIBLE[BACKEND].items())
def test_keras_itself_cannot_train_what_is_called_impossible(name: str, error: str) -> None:
    (case,) = (case for cases in GROUPS.values() for case in cases if case.name == name)
    with policy("mixed_float16"):
        model, _, batch = build([case])
        with pytest.raises(Exception, match=error):
            model.train_on_batch(*batch)


@pytest.mark.parametrize("name", UNCOMPILED[BACKEND])
def test_keras_itself_does_not_compile_what_is_left_uncompiled(name: str) -> None:
    (case,) = (case for cases in GROUPS.values() for case in cases if case.name == name)
    model, _, _ = build([case])
    assert not model.jit_compile


@every_group
def test_looking_inside_changes_no_bit(group: str) -> None:
    assert traced(group).untouched


@every_group
def test_nothing_is_left_untraced(group: str) -> None:
    assert traced(group).trace.not_traced == ()


@every_group
def test_the_computed_lane_is_the_untraced_step(group: str) -> None:
    step = traced(group)
    moves = {
        path: np.abs(real - step.before[path]).max(initial=0.0)
        for path, real in step.real.items()
        if real.dtype.kind == "f"
    }
    for path, real in step.real.items():
        found = step.traced.get(path, step.before[path])
        if real.dtype.kind != "f":
            np.testing.assert_array_equal(found, real)
            continue
        # The gradient of a bias is a sum over all places, of terms that may be larger than it.
        summed = group in IN_PIECES[BACKEND] and path.endswith("/bias")
        moved = max(moves.values()) if summed else moves[path]
        np.testing.assert_allclose(found, real, rtol=1e-6, atol=4 * 2.0**-10 * moved, err_msg=path)


@every_group
def test_no_gradient_is_taken_for_a_part_of_the_loss(group: str) -> None:
    """A loss that is made of a gradient is a gradient penalty; these have none."""
    assert graph(traced(group).trace).second == frozenset()


@every_layer
def test_the_shadow_of_an_output_is_what_float32_computes(group: str, case: Case) -> None:
    site = traced(group).output(case.name)
    assert differences(site.statistics, reference(group).outputs[case.name], near(case)) == []


@every_layer
def test_the_shadows_of_gradients_are_what_float32_computes(group: str, case: Case) -> None:
    for path, site in traced(group).gradients(case.name).items():
        truth = reference(group).gradients[path]
        if not case.writes and site.shape == truth.shape and site.statistics.count == truth.size:
            assert differences(site.statistics, truth, near(case)) == [], path


@pytest.mark.parametrize("group", list(map(marked, dict(CASES))))
def test_what_layers_pass_back_together_is_what_float32_computes(group: str) -> None:
    loose = any(case.draws for case in possible(group))
    for path, truth in reference(group).gradients.items():
        if path.endswith("/gain"):
            name = path.split("/")[-2]
            (site,) = traced(group).gradients(name).values()
            tolerance = HALF_ROUNDING if loose else ROUNDING
            assert differences(site.statistics, truth, tolerance) == [], path


@every_layer
def test_backends_agree(group: str, case: Case) -> None:
    if case.draws:
        assert case.name not in STORED
        return
    found = traced(group).output(case.name).statistics.max_abs
    agree = found == pytest.approx(STORED[case.name], rel=1e-3)
    assert agree == (case.name not in UNLIKE[BACKEND]), (found, STORED[case.name])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([1.0, 3.0], "3 elements, not 2"),
        ([1.0, 3.0, 0.2], "the largest is 5.0, not 3.0"),
        ([3.0, 5.0, 0.2], "1 reach 2**1, not 2 to 2"),
    ],
)
def test_the_comparison_can_fail(values: list[float], complaint: str) -> None:
    found = Statistics(3, max_abs=5.0, exponents={2: 1, 0: 1, -3: 1})
    assert differences(found, np.array([1.0, 5.0, 0.2]), 1e-4) == []
    assert complaint in differences(found, np.array(values), 1e-4)
