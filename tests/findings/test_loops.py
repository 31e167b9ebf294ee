"""What a loop carries in half precision, and adds to: a state that does not move."""

from __future__ import annotations

import pytest

from floatline.records import Trace
from tests.findings.evidence import Sketch, conclude, configuration, curve, evidence, steps

BFLOAT16 = configuration("mixed_bfloat16", "bfloat16", "float32", scaling=False)
STUCK, MOVES = steps(curve(0.3, 0.16)), steps(curve(0.3, 0.003))


def rollout(
    step: int = 0,
    *,
    added: float = 6e-4,
    error: float = 0.06,
    turns: bool = True,
    cast: bool = True,
) -> Trace:
    """Euler steps by a scan: x = (x + h * f(x)).astype(bfloat16)."""
    sketch = Sketch()
    start = sketch.add("Cast", dtype="bfloat16", max_abs=4.0)
    slope = sketch.add("mul", dtype="float32", max_abs=added, error=error)
    itself = slope + (2 if cast else 1)
    inputs = (start, slope, itself) if turns else (start, slope)
    dtype = "float32" if cast else "bfloat16"
    total = sketch.add("add", *inputs, dtype=dtype, max_abs=4.0, error=error)
    if cast:
        total = sketch.add(
            "convert_element_type", total, dtype="bfloat16", max_abs=4.0, error=error
        )
    sketch.gradient("field", sketch.loss(total, error=0.3), error=0.3)
    return sketch.trace(step=step)


@pytest.mark.parametrize("cast", [True, False])
def test_a_state_that_a_loop_adds_too_little_to_is_named(cast: bool) -> None:
    traces = [rollout(step, cast=cast) for step in (0, 39)]
    case = evidence(traces, STUCK, MOVES, MOVES, config=BFLOAT16)
    judgement = conclude(case)
    assert (judgement.verdict, judgement.findings[0].rule) == ("precision", "FL302")
    assert "A loop carries" in judgement.findings[0].summary
    assert "through the loop in float32" in judgement.findings[0].remedies[0]


@pytest.mark.parametrize(
    "differs", [{"added": 0.5}, {"added": 0.0}, {"error": 0.01}, {"turns": False}]
)
def test_a_loop_whose_state_moves_is_not(differs: dict[str, float]) -> None:
    traces = [rollout(step, **differs) for step in (0, 39)]  # type: ignore[arg-type]
    case = evidence(traces, STUCK, MOVES, MOVES, config=BFLOAT16)
    assert "FL302" not in [finding.rule for finding in conclude(case).findings]


def test_a_state_that_stands_still_without_harm_is_left_alone() -> None:
    case = evidence([rollout(), rollout(39)], MOVES, MOVES, MOVES, config=BFLOAT16)
    assert conclude(case).verdict == "healthy"
