"""Which remedies findings suggest, and how several become one plan; plain records only."""

from __future__ import annotations

from floatline.precision.plan import Plan
from floatline.records import Finding, Place, Site, Statistics, Trace
from floatline.remedies.combine import combined
from floatline.remedies.propose import (
    calibrated_scale,
    everywhere,
    float32_layer,
    low_scale,
    propose,
)
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


def names(sets: tuple[tuple[Remedy, ...], ...]) -> list[list[str]]:
    return [[remedy.summary for remedy in group] for group in sets]


def test_nothing_is_proposed_for_advice_alone() -> None:
    assert propose([found("FL501", severity="advice")], ()) == ()


def test_an_overflow_is_first_tried_in_its_own_layer_and_last_everywhere() -> None:
    sets = propose([found("FL101", "b")], (trace("a", "b", "c", "d"),))
    proposed = names(sets)
    keep = "Keep layer {!r} in float32.".format
    assert proposed[0] == [keep("b")]
    assert proposed[1] == [keep("b"), keep("c")]
    assert ["Use mixed_bfloat16 in the whole model."] in proposed
    assert [keep("b"), keep("c"), keep("d")] in proposed
    assert proposed[-1] == ["Use float32 in the whole model."]


def test_lost_digits_are_not_cured_by_fewer_digits() -> None:
    proposed = names(propose([found("FL303", "ids")], ()))
    assert ["Use mixed_bfloat16 in the whole model."] not in proposed


def test_a_loss_scale_is_proposed_only_where_it_is_the_root() -> None:
    scale = [calibrated_scale("FL401").summary]
    assert scale in names(propose([found("FL401")], ()))
    assert scale not in names(propose([found("FL101", "a"), found("FL401")], ()))


def test_half_precision_weights_are_first_kept_in_float32() -> None:
    assert names(propose([found("FL502")], ()))[0] == ["Use mixed_float16 in the whole model."]


def test_no_set_is_proposed_twice() -> None:
    proposed = names(propose([found("FL101", "a")], (trace("a"),)))
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
