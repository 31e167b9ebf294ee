"""What only Keras can do is advised where Keras takes part."""

from __future__ import annotations

import dataclasses

import pytest

from floatline.findings.rule import OfKeras
from floatline.findings.table import RULES
from floatline.records import Configuration, Evidence
from tests.findings.evidence import Build, conclude
from tests.findings.patients import position, reduction

WITHOUT_KERAS = Configuration("float32", entry="step function")


def without_keras(case: Evidence) -> Evidence:
    return dataclasses.replace(case, configuration=WITHOUT_KERAS)


def of_keras(case: Evidence) -> list[bool]:
    """For each remedy of the first finding, whether it needs Keras."""
    return [isinstance(remedy, OfKeras) for remedy in conclude(case).findings[0].remedies]


@pytest.mark.parametrize("build", [reduction, position])
def test_a_program_without_keras_is_not_told_to_build_a_layer(build: Build) -> None:
    case = build()
    assert any(of_keras(case))
    assert of_keras(without_keras(case)) == [False, False]


def test_layers_that_are_called_as_functions_are_keras_layers() -> None:
    case = without_keras(reduction())
    (trace,) = case.traces
    first = trace.sites[0]
    place = dataclasses.replace(first.place, layer_class="Dense")
    sites = (dataclasses.replace(first, place=place), *trace.sites[1:])
    known = dataclasses.replace(case, traces=(dataclasses.replace(trace, sites=sites),))
    assert any(of_keras(known))


def test_every_rule_advises_something_that_needs_no_keras() -> None:
    assert all(any(not isinstance(r, OfKeras) for r in rule.remedies) for rule in RULES)
