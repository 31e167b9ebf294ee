"""Weights that stand still in half precision: how far the loss must lag before it counts."""

from __future__ import annotations

import pytest

from floatline.records import Evidence, StepRecord, Trace
from tests.findings.evidence import Sketch, conclude, configuration, curve, evidence, steps

Steps = tuple[StepRecord, ...]
FLOAT32 = steps(curve(0.73, 0.56, 100))
"""Falls by a quarter, so that a training that falls half as far is within its tolerance."""


def update(size: float, step: int, *, still: bool = True) -> Trace:
    """Two kernels between 1/4 and 1/2, one of them five times the other; the large one is still."""
    sketch = Sketch()
    for name, count in (("small", 20), ("large", 100)):
        moves = size if name == "large" and still else 0.1
        kernel = sketch.add(
            "ReadVariableOp", role="parameter", dtype="bfloat16", variable=f"{name}/kernel",
            layer=name, count=count, max_abs=0.5, exponents={-2: count},
        )  # fmt: skip
        loss = sketch.loss(kernel)
        gradient = sketch.gradient(name, loss, dtype="bfloat16", count=count)
        change = sketch.add("Mul", gradient, phase="update", dtype="bfloat16", max_abs=moves)
        sketch.add(
            "AssignSubVariableOp", kernel, change, phase="update", dtype="bfloat16", layer=None,
            variable=f"{name}/kernel", count=count,
        )  # fmt: skip
    return sketch.trace(step, "last" if step else "first")


def trained(own: Steps, size: float = 1e-5, *, later: bool = True) -> Evidence:
    traces = [update(size, 0), update(size, 99, still=later)]
    pure = configuration("bfloat16", "bfloat16", "bfloat16", scaling=False)
    return evidence(traces, own, FLOAT32, FLOAT32, config=pure)


HALF_AS_FAR = steps(curve(0.73, 0.643, 100))


def test_weights_that_stand_still_explain_a_loss_that_lags_a_little() -> None:
    judgement = conclude(trained(HALF_AS_FAR))
    assert judgement.verdict == "precision"
    assert [finding.rule for finding in judgement.findings] == ["FL304", "FL502"]
    assert "worse than float32" in judgement.explanation


def test_an_update_of_0_is_not_lost() -> None:
    """Behind a head that starts at 0 nothing moves in the first step, in float32 either."""
    pure = configuration("bfloat16", "bfloat16", "bfloat16", scaling=False)
    first, last = update(0.0, 0), update(1e-5, 99)
    still = evidence([first, last], HALF_AS_FAR, FLOAT32, FLOAT32, config=pure)
    assert conclude(still).findings[0].rule == "FL304"
    for traces in ([first], [first, update(0.1, 99)]):
        moves = evidence(traces, HALF_AS_FAR, FLOAT32, FLOAT32, config=pure)
        assert conclude(moves).verdict == "healthy"
    keeps_up = evidence([first, last], FLOAT32, FLOAT32, FLOAT32, config=pure)
    assert [finding.rule for finding in conclude(keeps_up).findings] == ["FL502"]


def test_before_the_loss_shows_it_this_is_advice() -> None:
    judgement = conclude(trained(FLOAT32))
    assert judgement.verdict == "healthy"
    assert [(f.rule, f.severity) for f in judgement.findings] == [
        ("FL304", "advice"), ("FL502", "advice"),
    ]  # fmt: skip
    moving = conclude(trained(FLOAT32, later=False))
    assert [finding.rule for finding in moving.findings] == ["FL502"]


@pytest.mark.parametrize(
    "healthy",
    [
        trained(HALF_AS_FAR, size=0.1),
        trained(HALF_AS_FAR, later=False),
        trained(steps(curve(0.73, 0.58, 100))),
        trained(FLOAT32),
    ],
    ids="moves later near alike".split(),
)
def test_without_either_it_is_no_fault(healthy: Evidence) -> None:
    assert conclude(healthy).verdict == "healthy"
