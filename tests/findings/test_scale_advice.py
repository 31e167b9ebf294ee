"""What is advised about a loss scale exists in the framework that it is advised for."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

import floatline
from floatline.findings.judge import judge
from floatline.findings.scale_advice import MISSING, TOO_HIGH, TOO_LOW
from floatline.findings.table import rule_named
from floatline.records import Evidence
from tests.findings.patients import high_scale, low_scale, no_scaling

SCALERS = {
    "torch": torch.amp.GradScaler,
    "jax": floatline.LossScaler,
    "tensorflow": floatline.LossScaler,
}


def in_a_loop(case: Evidence, optimizer: str | None = None) -> Evidence:
    described = dataclasses.replace(
        case.configuration, entry="step function", optimizer=optimizer, layers=()
    )
    return dataclasses.replace(case, configuration=described)


@pytest.mark.parametrize("backend", SCALERS)
@pytest.mark.parametrize(
    ("case", "advice"),
    [(no_scaling(), MISSING), (low_scale(), TOO_LOW), (high_scale(), TOO_HIGH)],
)
def test_a_loop_is_told_of_its_frameworks_own(
    case: Evidence, advice: dict[str, tuple[str, ...]], backend: str
) -> None:
    finding = judge(in_a_loop(case), backend).findings[0]
    assert finding.remedies == advice[backend]
    assert not any("keras" in remedy.lower() for remedy in finding.remedies)
    assert all(remedy.endswith(".") for remedy in finding.remedies)


@pytest.mark.parametrize("backend", SCALERS)
def test_what_is_named_is_there(backend: str) -> None:
    text = " ".join((*MISSING[backend], *TOO_LOW[backend]))
    scaler = SCALERS[backend]
    assert f"{scaler.__module__.split('.')[0]}." in text
    methods = re.findall(r"scaler\.(\w+)\(", text)
    assert len(set(methods)) >= 3
    assert all(callable(getattr(scaler, method)) for method in methods)


@pytest.mark.parametrize("case", [no_scaling(), in_a_loop(no_scaling(), "Adam")])
def test_an_optimizer_of_keras_is_wrapped(case: Evidence) -> None:
    finding = judge(case, "torch").findings[0]
    assert finding.remedies == rule_named("FL201").remedies


def test_an_unknown_framework_gets_the_general_advice() -> None:
    finding = judge(in_a_loop(no_scaling())).findings[0]
    assert finding.remedies == rule_named("FL201").remedies
