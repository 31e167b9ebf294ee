"""What only Keras can do is advised where Keras takes part, and said otherwise elsewhere."""

from __future__ import annotations

import dataclasses
import re

import pytest

from floatline.findings.advice import OfKeras, in_own_words
from floatline.findings.case import study
from floatline.findings.judge import judge
from floatline.findings.rule import Rule
from floatline.findings.table import RULES
from floatline.records import Configuration, Evidence, Finding
from tests.findings.evidence import Build, conclude
from tests.findings.patients import activation, position, reduction

WITHOUT_KERAS = Configuration("float32", entry="step function")
OF_KERAS = re.compile(
    r'keras|dtype="|mixed_|autocast=False|clipnorm|LossScaleOptimizer|from_logits|_growth_steps'
)
FOREIGN = {
    "jax": re.compile(r"torch\.|\btf\.|nn\.Module|GradScaler"),
    "tensorflow": re.compile(r"torch\.|\bjnp\.|nn\.Module|GradScaler"),
    "torch": re.compile(r"\bjnp\.|\bjax\.|\btf\."),
}
"""What only other frameworks have."""

OWN = ("FL201", "FL202", "FL402", "FL501")
"""Rules whose advice is chosen by framework already, or that only speak of Keras' policies."""

DUAL = "initial_scale of Keras' LossScaleOptimizer, init_scale of PyTorch's GradScaler."


def without_keras(case: Evidence) -> Evidence:
    return dataclasses.replace(case, configuration=WITHOUT_KERAS)


def of_keras(case: Evidence) -> list[bool]:
    """For each remedy of the first finding, whether it needs Keras."""
    return [isinstance(remedy, OfKeras) for remedy in conclude(case).findings[0].remedies]


@pytest.mark.parametrize("build", [activation, reduction, position])
def test_a_program_without_keras_is_not_told_to_build_a_layer(build: Build) -> None:
    case = build()
    assert any(of_keras(case))
    assert not any(of_keras(without_keras(case)))


@pytest.mark.parametrize(("backend", "keras"), [("jax", True), ("torch", False)])
def test_layers_that_are_called_as_functions_are_keras_layers(backend: str, keras: bool) -> None:
    """On PyTorch they may be modules."""
    case = without_keras(reduction())
    (trace,) = case.traces
    first = trace.sites[0]
    place = dataclasses.replace(first.place, layer_class="Dense")
    sites = (dataclasses.replace(first, place=place), *trace.sites[1:])
    known = dataclasses.replace(case, traces=(dataclasses.replace(trace, sites=sites),))
    remedies = judge(known, backend).findings[0].remedies
    assert any(isinstance(remedy, OfKeras) for remedy in remedies) is keras


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow", None])
@pytest.mark.parametrize("rule", [r for r in RULES if r.id not in OWN], ids=lambda r: r.id)
def test_no_rule_advises_what_only_keras_has(rule: Rule, backend: str | None) -> None:
    case = study(without_keras(activation()), backend)
    case = dataclasses.replace(case, evidence=dataclasses.replace(case.evidence, traces=()))
    finding = Finding(rule.id, rule.cause, "forward", "", {}, rule.remedies, None)
    advice = in_own_words(case, finding).remedies
    assert advice
    assert not [text for text in advice if OF_KERAS.search(text) and not text.endswith(DUAL)]


@pytest.mark.parametrize("backend", sorted(FOREIGN))
@pytest.mark.parametrize("rule", [r for r in RULES if r.id not in OWN], ids=lambda r: r.id)
def test_no_rule_advises_what_only_another_framework_has(rule: Rule, backend: str) -> None:
    case = study(without_keras(activation()), backend)
    case = dataclasses.replace(case, evidence=dataclasses.replace(case.evidence, traces=()))
    finding = Finding(rule.id, rule.cause, "forward", "", {}, rule.remedies, None)
    advice = in_own_words(case, finding).remedies
    assert not [t for t in advice if FOREIGN[backend].search(t) and not t.endswith(DUAL)]


def test_what_stands_outside_of_every_layer_is_not_told_to_build_one() -> None:
    inside = reduction()
    (trace,) = inside.traces
    sites = tuple(
        dataclasses.replace(site, place=dataclasses.replace(site.place, layer=None))
        for site in trace.sites
    )
    outside = dataclasses.replace(inside, traces=(dataclasses.replace(trace, sites=sites),))
    in_layer, in_loss = (conclude(case).findings[0] for case in (inside, outside))
    assert in_layer.rule == in_loss.rule == "FL102"
    assert any("Build the layer" in remedy for remedy in in_layer.remedies)
    assert not any("the layer" in remedy for remedy in in_loss.remedies)
    assert any("Compute it in float32" in remedy for remedy in in_loss.remedies)
