"""Which remedies findings suggest, and how several become one plan; plain records only."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import pytest

from floatline.precision.plan import Plan
from floatline.records import (
    Configuration,
    Finding,
    LayerRecord,
    Place,
    Site,
    SourceLine,
    Statistics,
    Trace,
)
from floatline.remedies.combine import combined
from floatline.remedies.dtypes import everywhere, float32_layer
from floatline.remedies.epsilons import held_epsilon
from floatline.remedies.propose import propose, propose_for_growth
from floatline.remedies.scales import calibrated_scale, low_scale
from floatline.repairs import Remedy


def found(rule: str, layer: str | None = None, severity: str = "failure") -> Finding:
    place = None if layer is None else Place(layer, "Mul", f"{layer}/mul", "forward")
    return Finding(rule, "cause", "forward", "", {}, (), place, severity=severity)  # type: ignore[arg-type]  # (either literal)


def trace(*layers: str) -> Trace:
    """Layers that read each other one after the other."""
    sites = [
        Site(
            index,
            Place(layer, "MatMul", f"{layer}/matmul", "forward"),
            "value",
            "float16",
            (1,),
            (index - 1,) if index else (),
            Statistics(1),
        )
        for index, layer in enumerate(layers)
    ]
    return Trace(0, "first", tuple(sites))


def training(optimizer: str | None = None, *layers: LayerRecord) -> Configuration:
    return Configuration("mixed_float16", layers, optimizer)


def names(sets: tuple[tuple[Remedy, ...], ...]) -> list[list[str]]:
    return [[remedy.summary for remedy in group] for group in sets]


def test_nothing_is_proposed_for_advice_alone() -> None:
    assert propose([found("FL501", severity="advice")], (), training()) == ()


def test_an_overflow_is_first_tried_in_its_own_layer_and_last_everywhere() -> None:
    sets = propose([found("FL101", "b")], (trace("a", "b", "c", "d"),), training())
    proposed = names(sets)
    keep = "Keep layer {!r} in float32.".format
    assert proposed[0] == [keep("b")]
    assert proposed[1] == [keep("b"), keep("c")]
    assert ["Use mixed_bfloat16 in the whole model."] in proposed
    assert [keep("b"), keep("c"), keep("d")] in proposed
    assert proposed[-1] == ["Use float32 in the whole model."]


def test_what_a_line_does_in_one_layer_it_does_in_all_that_run_it() -> None:
    """Three layers of one class; one more stands between them."""
    line = SourceLine("model.py", 7)
    steps = trace("norm1", "dense", "norm2", "norm3")
    sites = tuple(
        dataclasses.replace(s, place=dataclasses.replace(s.place, source=line))
        if (s.place.layer or "").startswith("norm")
        else s
        for s in steps.sites
    )
    finding = dataclasses.replace(found("FL106"), place=sites[0].place)
    proposed = names(propose([finding], (dataclasses.replace(steps, sites=sites),), training()))
    keep = "Keep layer {!r} in float32.".format
    assert proposed[:2] == [[keep("norm1")], [keep("norm1"), keep("norm2"), keep("norm3")]]


def test_lost_digits_are_not_cured_by_fewer_digits() -> None:
    proposed = names(propose([found("FL303", "ids")], (), training()))
    assert ["Use mixed_bfloat16 in the whole model."] not in proposed


def entered(by: str) -> Trace:
    """A batch that something casts to 16 bits, and a layer that reads that."""
    places = [
        Place(None, "Input", "batch", "forward"),
        Place(by, "Cast", f"{by}/cast", "forward"),
        Place("season", "Sin", "season/sin", "forward"),
    ]
    roles, dtypes = ("input", "value", "value"), ("float32", "float16", "float16")
    sites = [
        Site(i, place, role, dtype, (1,), (i - 1,) if i else (), Statistics(1))  # type: ignore[arg-type]  # (a literal each)
        for i, (place, role, dtype) in enumerate(zip(places, roles, dtypes, strict=True))
    ]
    return Trace(0, "first", tuple(sites))


def test_what_a_model_casts_before_its_layers_is_first_left_as_it_is() -> None:
    season = LayerRecord("season", "Season", "float16", "float32")
    own = training(None, season)
    border = "Let model 'ranker' take its inputs in float32."
    keep = "Keep layer 'season' in float32."
    trace_ = entered("ranker")
    assert names(propose([found("FL301", "season")], (trace_,), own))[:2] == [
        [border], [border, keep],
    ]  # fmt: skip
    assert names(propose([found("FL303", "ranker")], (trace_,), own))[0] == [border]
    assert [border, keep] not in names(propose([found("FL101", "season")], (trace_,), own))
    layer = names(propose([found("FL301", "season")], (entered("season"),), own))
    assert layer[0] == [keep]


def test_a_loss_scale_is_proposed_only_where_it_is_the_root() -> None:
    scale = [calibrated_scale("FL401").summary]
    assert scale in names(propose([found("FL401")], (), training()))
    assert scale not in names(propose([found("FL101", "a"), found("FL401")], (), training()))


def test_half_precision_weights_are_first_kept_in_float32() -> None:
    assert names(propose([found("FL502")], (), training()))[0] == [
        "Use mixed_float16 in the whole model."
    ]


def test_no_set_is_proposed_twice() -> None:
    proposed = names(propose([found("FL101", "a")], (trace("a"),), training()))
    assert len(proposed) == len({tuple(group) for group in proposed})


def test_general_rules_come_first_and_the_first_scale_holds() -> None:
    remedies = [float32_layer("head"), low_scale("FL110"), everywhere("mixed_float16")]
    plan = combined([*remedies, calibrated_scale("FL110")])
    assert [rule.policy for rule in plan.rules] == ["mixed_float16", "float32"]
    assert plan.loss_scale is not None
    assert plan.loss_scale.settings == {"floor": 2.0**-24}


def test_a_layer_that_is_named_twice_has_one_rule() -> None:
    plan = combined([float32_layer("head", "FL101"), float32_layer("head")])
    assert [rule.path for rule in plan.rules] == ["head"]
    assert "FL101" in plan.rules[0].reason


def test_no_remedies_are_the_empty_plan() -> None:
    assert combined([]) == Plan()


def test_a_loss_in_half_precision_gets_outputs_in_float32() -> None:
    loss = Place(None, "Exp", "loss/exp", "forward")
    last = Site(2, loss, "value", "float16", (1,), (1,), Statistics(1))
    step = Trace(0, "first", (*trace("body", "head").sites, last))
    finding = Finding("FL103", "cause", "forward", "", {}, (), loss)
    assert ["Keep output layer 'head', and with it the loss, in float32."] in names(
        propose([finding], (step,), training())
    )


def test_an_epsilon_that_is_0_in_the_update_is_raised_first() -> None:
    update = Place(None, "Div", "adam/div", "update")
    finding = Finding("FL206", "cause", "update", "", {}, (), update)
    proposed = propose([finding], (), training("Adam"))
    assert [setting.name for setting in proposed[0][0].plan.optimizer] == ["epsilon"]
    assert names(proposed)[1] == ["Use mixed_float16 in the whole model."]


def test_an_optimizer_without_epsilon_is_given_none() -> None:
    assert names(propose([found("FL502")], (), training("SGD")))[0] == [
        "Use mixed_float16 in the whole model."
    ]


def norm(
    path: str, epsilon: float | None, dtype: str = "float16", name: str = "Norm"
) -> LayerRecord:
    return LayerRecord(path, name, dtype, "float32", epsilon=epsilon)


def test_an_epsilon_that_the_format_cannot_hold_is_raised_before_the_layer_is_float32() -> None:
    layers = (norm("a", 1e-8), norm("b", 1e-8), norm("c", 1e-3), norm("d", 1e-8, name="Other"))
    proposed = propose([found("FL203", "a")], (), training(None, *layers))
    give = "Give layer {!r} the epsilon 0.0001.".format
    assert names(proposed)[:3] == [
        [give("a")],
        [give("a"), give("b")],
        ["Keep layer 'a' in float32."],
    ]
    (epsilon,) = proposed[0][0].plan.epsilons
    assert (epsilon.path, epsilon.value) == ("a", 1e-4)
    assert "in float32, too" in proposed[0][0].cost
    assert {e.path for e in combined(proposed[1]).epsilons} == {"a", "b"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_raised_epsilon_is_normal_and_its_inverse_finite(dtype: str) -> None:
    held = held_epsilon(dtype)
    ends = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]  # (it carries no types)
    assert float(ends.smallest_normal) <= held
    assert 1 / held <= float(ends.max)
    assert held / 10 < float(ends.smallest_normal)


@pytest.mark.parametrize(
    "layer",
    [norm("a", 1e-4), norm("a", None), norm("a", 1e-8, "bfloat16"), norm("a", 1e-8, "float32")],
)
def test_an_epsilon_that_is_held_is_left_alone(layer: LayerRecord) -> None:
    proposed = propose([found("FL203", "a")], (), training(None, layer))
    assert not any(remedy.plan.epsilons for group in proposed for remedy in group)
    assert names(proposed)[0] == ["Keep layer 'a' in float32."]


def test_a_scale_that_the_gradients_do_not_carry_is_left_out() -> None:
    (remedy,) = propose([found("FL404")], (), training())[0]
    assert remedy.plan.loss_scale is not None
    assert remedy.plan.loss_scale.kind == "none"


def test_a_loss_that_grows_in_float32_too_gets_smaller_steps() -> None:
    settings = Configuration("mixed_float16", learning_rate=0.5)
    proposed = propose_for_growth([found("FL602")], settings)
    given = [{s.name: s.value for r in group for s in r.plan.optimizer} for group in proposed]
    assert given == [
        {"learning_rate": 0.05},
        {"global_clipnorm": 1.0},
        {"learning_rate": 0.005},
        {"learning_rate": 0.05, "global_clipnorm": 1.0},
        {"learning_rate": 0.005, "global_clipnorm": 1.0},
    ]


def test_a_schedule_is_left_alone_and_gradients_are_clipped() -> None:
    proposed = names(propose_for_growth([found("FL602")], Configuration("float32")))
    assert proposed == [["Clip gradients to a global norm of 1."]]


def test_smaller_steps_are_no_remedy_for_bad_data() -> None:
    settings = Configuration("float32", learning_rate=0.5)
    assert propose_for_growth([found("FL601")], settings) == ()
