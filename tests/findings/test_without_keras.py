"""Advice for a program without Keras names nothing of Keras'."""

from __future__ import annotations

import dataclasses
import re

import pytest

from floatline.findings import without_keras
from floatline.findings.case import study
from floatline.findings.judge import judge
from floatline.findings.rule import Rule
from floatline.findings.table import RULES
from floatline.findings.without_keras import in_own_words
from floatline.records import Evidence, Finding
from tests.findings.patients import activation, position

OF_KERAS = re.compile(
    r'keras|dtype="|mixed_|autocast=False|clipnorm|LossScaleOptimizer|from_logits|_growth_steps'
)
OWN = ("FL201", "FL202", "FL402", "FL501")
"""Rules whose advice is chosen by framework already, or that only speak of Keras' policies."""

DUAL = "initial_scale of Keras' LossScaleOptimizer, init_scale of PyTorch's GradScaler."


def in_a_loop(case: Evidence) -> Evidence:
    described = dataclasses.replace(
        case.configuration, entry="step function", optimizer=None, layers=()
    )
    return dataclasses.replace(case, configuration=described)


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
@pytest.mark.parametrize("rule", [r for r in RULES if r.id not in OWN], ids=lambda r: r.id)
def test_no_rule_advises_what_only_keras_has(rule: Rule, backend: str) -> None:
    case = study(in_a_loop(activation()), backend)
    finding = Finding(rule.id, rule.cause, "forward", "", {}, rule.remedies, None)
    advice = in_own_words(case, finding).remedies
    assert advice
    assert not [text for text in advice if OF_KERAS.search(text) and not text.endswith(DUAL)]


def test_every_sentence_that_is_replaced_is_one_that_a_rule_says() -> None:
    said = {remedy for rule in RULES for remedy in rule.remedies}
    assert {*without_keras._GENERAL, *without_keras._TORCH} <= said
    assert set(without_keras._TORCH) <= set(without_keras._GENERAL)


@pytest.mark.parametrize("patient", [activation, position])
def test_a_model_of_keras_keeps_its_advice(patient: type) -> None:
    case = patient()
    kept = judge(case, "torch").findings[0].remedies
    other = judge(in_a_loop(case), "torch").findings[0].remedies
    assert any(OF_KERAS.search(text) for text in kept)
    assert any("torch.autocast(device, enabled=False)" in text for text in other)
