"""A moving average in half precision that takes in less than the last digit holds stands still."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from floatline.findings.averages import slow_averages, still_averages
from floatline.findings.judge import needs_reference
from floatline.formats import FORMATS
from floatline.records import Trace
from tests.findings.evidence import Numbers, Sketch, conclude, curve, evidence, learns, steps

Writes = Callable[[Sketch, int, int, float], int]
OLD, NEW = 0.75, 3.0


def as_sum(sketch: Sketch, old: int, new: int, share: float) -> int:
    """`(1 - a) * w + a * x`, cast to what the variable holds."""
    kept = sketch.add("mul", old, phase="update", max_abs=(1 - share) * OLD)
    taken = sketch.add("mul", new, phase="update", dtype="float32", max_abs=share * NEW)
    return sketch.add("add", kept, taken, phase="update", dtype="float32", max_abs=OLD)


def as_step(sketch: Sketch, old: int, new: int, share: float) -> int:
    """`w + a * (x - w)`."""
    away = sketch.add("sub", new, old, phase="update", max_abs=NEW - OLD)
    change = sketch.add("mul", away, phase="update", max_abs=share * (NEW - OLD))
    return sketch.add("add", old, change, phase="update", max_abs=OLD)


def as_step_to_weight(sketch: Sketch, old: int, new: int, share: float) -> int:
    """The same, with the new value of the weight that this step trains."""
    spread: Numbers = {"phase": "update", "exponents": {-1: 100}}
    trained = sketch.add("sub", new, variable="block/kernel", dtype="float32", **spread)
    cast = sketch.add("convert_element_type", trained, phase="update", max_abs=NEW)
    away = sketch.add("sub", cast, old, phase="update", max_abs=NEW - OLD)
    change = sketch.add(
        "mul", away, phase="update", max_abs=share * (NEW - OLD), exponents={-9: 100}
    )
    return sketch.add("add", old, change, phase="update", max_abs=OLD, exponents={-1: 100})


def as_blend(sketch: Sketch, old: int, new: int, share: float) -> int:
    """PyTorch's `w.lerp_(x, a)`, beside which its tracer lists the number."""
    number = sketch.add("lerp_/literal", role="constant", constant=share, count=1)
    return sketch.add("lerp_", old, new, number, phase="update", max_abs=OLD)


def average(
    share: float,
    *,
    lag: float = 0.5,
    dtype: str = "bfloat16",
    writes: Writes = as_sum,
    read: bool = True,
) -> Sketch:
    """A step in which a target follows a weight that is trained; the loss may read it."""
    sketch = Sketch()
    old = sketch.add(
        "Parameter", role="parameter", variable="target", dtype=dtype, max_abs=OLD, layer=None
    )
    new = sketch.add("Parameter", role="parameter", variable="block/kernel", dtype="float32")
    sketch.gradient("block", sketch.loss(sketch.add("dot_general", *[old] * read, new)))
    total = writes(sketch, old, new, share)
    numbers: Numbers = {"max_abs": OLD, "error": lag * share, "dtype": dtype}
    sketch.add("convert_element_type", total, phase="update", variable="target", **numbers)
    return sketch


def found(trace: Trace) -> list[str | None]:
    return [average.site.variable for average in still_averages(trace)]


@pytest.mark.parametrize("writes", [as_sum, as_step, as_blend])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_stands_still_below_half_an_epsilon_and_only_there(dtype: str, writes: Writes) -> None:
    half = FORMATS[dtype].epsilon / 2
    (still,) = still_averages(average(0.5 * half, dtype=dtype, writes=writes).trace())
    assert still.share == pytest.approx(0.5 * half, rel=1e-6)
    assert still.lag == pytest.approx(0.5, rel=1e-6)
    assert found(average(2 * half, dtype=dtype, writes=writes).trace()) == []
    assert found(average(0.5 * half, dtype="float32", writes=writes).trace()) == []


@pytest.mark.parametrize(("lost", "stops"), [(0.9, True), (0.2, False)])
def test_one_of_weights_stops_where_rounding_takes_most_of_what_it_takes_in(
    lost: float, *, stops: bool
) -> None:
    """2**-9 of 2**-1 is taken in, and `lost` of that is rounded away."""
    share, change = 0.01, 2.0**-8
    sketch = average(share, lag=lost * change / share, writes=as_step_to_weight)
    written = sketch.sites[-1]
    statistics = dataclasses.replace(written.statistics, exponents={-1: 100})
    sketch.sites[-1] = dataclasses.replace(written, statistics=statistics)
    assert found(sketch.trace()) == (["target"] if stops else [])


def test_one_of_what_scatters_is_off_by_less() -> None:
    """As the statistics of batches are: the new value is no weight."""
    assert found(average(0.01, lag=0.35, writes=as_step).trace()) == []


def test_where_it_has_arrived_nothing_is_lost() -> None:
    assert found(average(1e-3, lag=0.0).trace()) == []


def test_the_law_holds_of_the_numbers_themselves() -> None:
    """bfloat16 rounds to 8 bits: by hand, a share of 0.001 leaves 1.0 where it is, 0.01 not."""

    def rounded(value: float) -> float:
        return round(value * 2**7) / 2**7  # Of numbers from 1 to 2.

    def after(share: float) -> float:
        value = 1.0
        for _ in range(1000):
            value = rounded(value + share * (1.9 - value))
        return value

    assert after(0.001) == 1.0
    assert after(0.01) > 1.4


def test_what_only_serves_an_update_shows_in_the_loss_and_is_left_to_it() -> None:
    sketch = average(1e-3)
    root = sketch.add("sqrt", 0, phase="update")
    sketch.add("sub", root, phase="update", variable="block/kernel")
    assert found(sketch.trace()) == []


def test_a_target_that_stands_still_is_found_although_the_loss_is_low() -> None:
    low = steps(curve(1.0, 0.01))
    case = evidence([average(1e-3).trace()], low, learns())
    assert needs_reference(case.configuration, case.history, case.traces)
    judgement = conclude(case)
    assert judgement.verdict == "precision"
    assert [f.rule for f in judgement.findings] == ["FL304"]
    assert "takes in 0.1 % of each new value" in judgement.findings[0].summary
    assert conclude(evidence([average(1e-1).trace()], low, learns())).verdict == "healthy"


def test_one_that_rounding_holds_back_is_found_where_the_loss_lags_behind() -> None:
    """A share of 1 % is 2.6 half epsilons of bfloat16: it follows, and stops short."""
    trace, own = average(1e-2).trace(), steps(curve(1.0, 0.5))
    case = evidence([trace], own, learns())
    assert needs_reference(case.configuration, case.history, case.traces)
    judgement = conclude(case)
    assert [f.rule for f in judgement.findings] == ["FL304"]
    assert "the last digit of bfloat16 rounds away, and stops short" in (
        judgement.findings[0].summary
    )
    assert conclude(evidence([trace], learns(), learns())).verdict == "healthy"


def test_one_that_waits_for_an_evaluation_does_not_harm_the_loss() -> None:
    assert len(slow_averages(average(1e-2).trace())) == 1
    assert slow_averages(average(1e-2, read=False).trace()) == ()
