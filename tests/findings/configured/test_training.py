"""Loss scaling, outputs, weights, ids and speed as they are set up: plain numbers, no framework."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from floatline.findings.configured.note import ConfigurationNote
from floatline.findings.configured.rounding import half_unit
from floatline.findings.configured.setup import (
    IdUse,
    LayerSetup,
    NumberUse,
    OptimizerSetup,
    OutputSetup,
    Setup,
)
from floatline.findings.configured.table import configuration_notes
from floatline.findings.table import rule_named
from floatline.formats import FORMATS
from floatline.records import SourceLine

LINE = SourceLine("train.py", 7)
DENSE = LayerSetup("dense", "Dense", "float16", LINE, "float32", 100)
SCALED = OptimizerSetup("Adam", loss_scaling=True)
PURE = LayerSetup("dense", "Dense", "float16", LINE, "float16", 100, typical_weight=0.1)


def setup(
    *layers: LayerSetup,
    optimizer: OptimizerSetup | None = SCALED,
    policy: str = "mixed_float16",
    model_policy: str = "mixed_float16",
    backend: str = "jax",
    outputs: tuple[OutputSetup, ...] = (),
) -> Setup:
    return Setup(backend, policy, layers, model_policy, optimizer, outputs)


def told(found: Iterable[ConfigurationNote]) -> list[tuple[str, str]]:
    return [(note.rule, note.grade) for note in found]


def of(rule: str, made: Setup) -> ConfigurationNote:
    (note,) = [note for note in configuration_notes(made) if note.rule == rule]
    assert note.cause == rule_named(rule).cause
    return note


# Loss scaling. --------------------------------------------------------------------------------


def test_a_scaled_loss_in_mixed_float16_is_clear() -> None:
    assert configuration_notes(setup(DENSE)) == ()


@pytest.mark.parametrize("policy", ["float32", "map_mixed_float16", "float16"])
def test_a_missing_loss_scale_is_a_risk_and_says_why(policy: str) -> None:
    note = of("FL201", setup(DENSE, optimizer=OptimizerSetup("SGD"), model_policy=policy))
    assert note.grade == "risk"
    assert note.place == "layer 'dense' (train.py:7)"
    assert f"and this is {policy}" in note.setting
    assert "LossScaleOptimizer(SGD(...))" in note.change


def test_a_loss_scale_that_was_turned_off() -> None:
    note = of("FL201", setup(DENSE, optimizer=OptimizerSetup("SGD")))
    assert "auto_scale_loss=False" in note.setting


def test_a_loop_may_scale_its_loss_by_itself() -> None:
    note = of("FL201", setup(DENSE, optimizer=OptimizerSetup("SGD", by_hand=True)))
    assert "unless your loop scales its loss" in note.reason
    assert "scale_loss" in note.change


@pytest.mark.parametrize(
    "made",
    [
        setup(DENSE, optimizer=None),
        setup(LayerSetup("dense", "Dense", "bfloat16", weights=100), optimizer=OptimizerSetup("A")),
        setup(LayerSetup("relu", "ReLU", "float16"), optimizer=OptimizerSetup("SGD")),
        setup(LayerSetup("d", "Dense", "float32", weights=1), optimizer=OptimizerSetup("SGD")),
    ],
)
def test_where_no_loss_scale_is_needed(made: Setup) -> None:
    assert "FL201" not in {note.rule for note in configuration_notes(made)}


# Weights in half precision. -------------------------------------------------------------------


def test_weights_in_half_precision_are_a_risk() -> None:
    note = of("FL502", setup(PURE))
    assert note.grade == "risk"
    assert "1 layers keep their weights in float16" in note.setting


def test_an_epsilon_that_is_zero_over_half_weights() -> None:
    adam = OptimizerSetup("Adam", True, epsilons=(("epsilon", 1e-8),))
    note = of("FL206", setup(PURE, optimizer=adam))
    assert (note.grade, note.layer) == ("wrong", None)
    assert note.setting == "Adam(epsilon=1e-08) over weights in float16"
    fine = OptimizerSetup("Adam", True, epsilons=(("epsilon", 1e-7),))
    for made in (setup(PURE, optimizer=fine), setup(DENSE, optimizer=adam)):
        assert "FL206" not in {note.rule for note in configuration_notes(made)}


@pytest.mark.parametrize(
    ("beta_2", "dtype", "wrong"),
    [
        (0.999, "bfloat16", True),
        (0.99, "bfloat16", False),
        (0.999, "float16", False),
        (0.9999, "float16", True),
        (1.0, "float16", False),
    ],
)
def test_a_beta_2_that_is_one(beta_2: float, dtype: str, *, wrong: bool) -> None:
    kept = LayerSetup("dense", "Dense", dtype, weight_dtype=dtype, weights=100, typical_weight=0.1)
    made = setup(kept, optimizer=OptimizerSetup("Adam", True, beta_2=beta_2))
    grades = [note.grade for note in configuration_notes(made) if note.rule == "FL305"]
    assert grades == (["wrong"] if wrong else [])


def test_weights_that_are_too_large_for_the_learning_rate() -> None:
    adam = OptimizerSetup("Adam", True, learning_rate=1e-5, normalises=True)
    note = of("FL304", setup(PURE, optimizer=adam))
    assert (note.grade, note.layer) == ("risk", "dense")
    slower = OptimizerSetup("SGD", True, learning_rate=1e-5)
    faster = OptimizerSetup("Adam", True, learning_rate=1e-3, normalises=True)
    for optimizer in (slower, faster):
        rules = {note.rule for note in configuration_notes(setup(PURE, optimizer=optimizer))}
        assert "FL304" not in rules


def test_half_a_unit_in_the_last_place() -> None:
    half = FORMATS["float16"]
    for value in (1e-9, 1e-3, 0.1, 1.0, 3.0, 1000.0):
        held = half.rounded(value)
        assert half.rounded(held + 0.99 * half_unit(value, half)) == held
        assert half.rounded(held + 1.01 * half_unit(value, half)) > held


# Outputs and losses. --------------------------------------------------------------------------


def output(dtype: str = "float16", **options: object) -> OutputSetup:
    made: dict[str, object] = {
        "activation": "softmax",
        "loss": "categorical_crossentropy",
        "loss_dtype": "float32",
    }
    made["takes_logarithm"] = True
    made |= options
    return OutputSetup("head", dtype, **made)  # type: ignore[arg-type]  # (as the test gives)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_in_half_precision_before_a_logarithm(activation: str) -> None:
    note = of("FL205", setup(DENSE, outputs=(output(activation=activation),)))
    assert (note.grade, note.layer) == ("risk", "head")
    assert 'dtype="float32"' in note.change


@pytest.mark.parametrize(
    "fine",
    [
        output("float32"),
        output(activation="linear"),
        output(takes_logarithm=False),
        output("float32", loss_dtype="float32"),
    ],
)
def test_outputs_that_are_clear(fine: OutputSetup) -> None:
    assert configuration_notes(setup(DENSE, outputs=(fine,))) == ()


def test_a_loss_in_half_precision() -> None:
    note = of("FL205", setup(DENSE, outputs=(output("float32", loss_dtype="float16"),)))
    assert "is computed in float16" in note.setting


def test_only_tensorflow_finds_logits_behind_probabilities() -> None:
    for backend, said in (("tensorflow", True), ("torch", False)):
        note = of("FL205", setup(DENSE, backend=backend, outputs=(output(),)))
        assert ("finds the logits" in note.reason) is said


# Ids. -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "rows", "given", "grade"),
    [
        ("float16", 5000, True, "wrong"),
        ("float16", 5000, False, "risk"),
        ("float16", 2049, True, None),
        ("float16", 2050, True, "wrong"),
        ("bfloat16", 2048, False, "risk"),
        ("bfloat16", 256, True, None),
    ],
)
def test_rows_that_no_id_reaches(dtype: str, rows: int, grade: str | None, *, given: bool) -> None:
    layer = LayerSetup("table", "Embedding", "float16", ids=IdUse(dtype, rows, given, LINE))
    found = [note for note in configuration_notes(setup(layer)) if note.rule == "FL303"]
    assert [note.grade for note in found] == ([grade] if grade else [])


# Speed. ---------------------------------------------------------------------------------------


def product(path: str, dtype: str, work: int, sides: tuple[int, ...]) -> LayerSetup:
    return LayerSetup(path, "Dense", dtype, work=work, sides=sides)


def test_a_policy_in_which_nothing_computes() -> None:
    made = setup(LayerSetup("dense", "Dense", "float32"))
    assert told(configuration_notes(made)) == [("FL501", "advice")]
    assert told(configuration_notes(setup(policy="mixed_float16"))) == []
    fine = setup(LayerSetup("dense", "Dense", "float32"), policy="float32")
    assert configuration_notes(fine) == ()


def test_a_large_product_with_an_odd_side() -> None:
    made = setup(product("vocabulary", "float16", 2**31, (768, 50257)))
    note = of("FL701", made)
    assert (note.grade, note.layer) == ("advice", "vocabulary")
    assert "round 50257 up to 50264" in note.change


@pytest.mark.parametrize(
    "fine",
    [
        product("even", "float16", 2**31, (768, 50264)),
        product("small", "float16", 2**20, (768, 50257)),
        product("short", "float16", 2**31, (768, 10)),
        product("full", "float32", 2**31, (768, 50257)),
    ],
)
def test_products_that_are_clear(fine: LayerSetup) -> None:
    assert configuration_notes(setup(fine, policy="float32")) == ()


def test_most_of_the_work_in_float32() -> None:
    low = product("low", "float16", 2**28, (768, 768))
    made = setup(low, product("full", "float32", 2**31, (768, 8192)))
    assert "88 % of the multiplications" in of("FL701", made).setting
    assert configuration_notes(setup(low, product("full", "float32", 2**20, (768, 8)))) == ()


def test_an_island_in_float32() -> None:
    around = {"inputs_from": ("float16",), "outputs_to": ("float16", "float16")}
    island = LayerSetup("norm", "Norm", "float32", LINE, **around)  # type: ignore[arg-type]
    note = of("FL701", setup(DENSE, island))
    assert (note.grade, note.source) == ("advice", LINE)
    for inputs, outputs in ((("float32",), ("float16",)), (("float16",), ()), ((), ("float16",))):
        shore = LayerSetup("n", "Norm", "float32", inputs_from=inputs, outputs_to=outputs)
        assert configuration_notes(setup(DENSE, shore)) == ()


def test_what_is_wrong_comes_first_and_nothing_twice() -> None:
    use = NumberUse("1e-8", 1e-8, "added", LINE)
    wrong = LayerSetup("norm", "Norm", "float16", weights=1, numbers=(use, use))
    made = setup(DENSE, wrong, optimizer=OptimizerSetup("SGD"))
    assert told(configuration_notes(made)) == [("FL203", "wrong"), ("FL201", "risk")]
