"""A flushed gradient is known by where it underflows, whatever becomes of it before the update."""

from __future__ import annotations

import math

import pytest

from floatline.findings.gradients import added_to_old, layer_gradients, most_flushed
from floatline.records import GradientSite, Phase, Trace
from tests.findings.evidence import COUNT, Numbers, Sketch, conclude, curve, evidence, steps


@pytest.mark.parametrize("phase", ["backward", "update"])
def test_a_gradient_that_is_clipped_belongs_to_the_operation_that_flushes_it(phase: Phase) -> None:
    """A loop of PyTorch's clips after `backward`, which is part of the update."""
    sketch = Sketch()
    flushed: Numbers = {"zero": COUNT, "flushed": COUNT, "error": 1.0}
    lost = sketch.add("MatMul", phase="backward", local_flushed=COUNT, **flushed)
    norm = sketch.add("Norm", lost, phase="update", layer=None)
    sketch.gradient("block", lost, norm, phase=phase, **flushed)
    (gradient,) = layer_gradients(sketch.trace())
    assert gradient.origin is not None
    assert gradient.origin.index == lost
    assert gradient.decisive(0.9)


def test_what_the_update_flushes_is_no_underflow_of_the_backward_pass() -> None:
    sketch = Sketch()
    lost: Numbers = {"zero": COUNT, "flushed": COUNT, "error": 1.0, "local_flushed": COUNT}
    sketch.gradient("block", sketch.add("Mul", phase="update", **lost), phase="update", **lost)
    (gradient,) = layer_gradients(sketch.trace())
    assert gradient.origin is None
    assert not gradient.decisive(0.9)


def flushed(*shares: float, by: str = "local_flushed") -> Trace:
    """A step with a layer for each share of a gradient that is 0, and float32 has nonzero."""
    sketch = Sketch()
    for number, share in enumerate(shares):
        count = int(COUNT * share)
        own: Numbers = {"flushed": count, "error": share, by: count}
        lost = sketch.add("MatMul", phase="backward", **own)
        sketch.gradient(f"layer{number}", lost, zero=count, flushed=count, error=share)
    return sketch.trace()


def test_the_step_with_the_largest_share_is_shown() -> None:
    loud = flushed(0.5, 0.2)
    shown = most_flushed((flushed(0.25, 0.0), loud, flushed(0.25, 0.25)))
    assert shown is not None
    assert shown[0] is loud
    assert [round(layer.share, 2) for layer in shown[1]] == [0.5, 0.2]


def test_nothing_flushed_is_nothing_to_show() -> None:
    assert most_flushed((flushed(0.0), Trace(1, "last", ()))) is None


def test_zeros_that_no_operation_flushed_are_no_loss_to_underflow() -> None:
    """Ids that were rounded point to other rows of a table: those that float32 moves get 0."""
    assert most_flushed((flushed(0.5, by="zero"),)) is None


def test_a_gradient_of_which_another_path_keeps_a_rest_is_lost_by_its_magnitude() -> None:
    """A boundary's small gradient is added to that of a residual that was flushed."""
    sketch = Sketch()
    gone: Numbers = {"zero": COUNT, "flushed": COUNT, "error": 1.0}
    lost = sketch.add("mm", phase="backward", local_flushed=COUNT, **gone)
    rest = sketch.add("mm", phase="backward", max_abs=1e-3, computed_max_abs=1e-3)
    sketch.gradient("block", lost, rest, max_abs=1.0, computed_max_abs=1e-3, error=0.999)
    (gradient,) = layer_gradients(sketch.trace())
    assert gradient.share == 0.0
    assert gradient.lost == pytest.approx(0.999)
    assert gradient.decisive(0.9)


def test_a_gradient_whose_largest_elements_overflow_has_not_shrunk() -> None:
    """Only the finite ones have a largest magnitude."""
    sketch = Sketch()
    lost = sketch.add("mm", phase="backward", flushed=COUNT // 2, local_flushed=COUNT // 2)
    over: Numbers = {"inf": 1, "saturated": 1, "max_abs": 1e6, "computed_max_abs": 1.0}
    sketch.gradient("block", lost, error=math.inf, **over)
    (gradient,) = layer_gradients(sketch.trace())
    assert not gradient.decisive(0.1)


def test_a_gradient_that_is_small_without_underflow_is_not_lost_to_it() -> None:
    """Nothing flushes; the computed one is small because a factor is."""
    sketch = Sketch()
    factor = sketch.add("mm", phase="backward", max_abs=1.0, computed_max_abs=1e-3, error=0.999)
    sketch.gradient("block", factor, max_abs=1.0, computed_max_abs=1e-3, error=0.999)
    (gradient,) = layer_gradients(sketch.trace())
    assert not gradient.decisive(0.1)


def adds(step: int, *, old: float = 0.0, onto: bool = True, moves: bool = True) -> Trace:
    """A step whose gradient is added to an old one of a certain size, which no operation made."""
    sketch = Sketch()
    gradient = sketch.add("mm", phase="backward", max_abs=1.0)
    if onto:
        gradient = sketch.add("add_", gradient, phase="backward", max_abs=1.0 + old)
    sketch.gradients.append(GradientSite("block/kernel", "block", gradient))
    if moves:
        sketch.add("add_", gradient, phase="update", variable="block/kernel")
    return sketch.trace(step)


def test_gradients_that_nobody_clears_are_seen_to_add_up() -> None:
    first, last = adds(0, onto=False), adds(39, old=5.0)
    assert added_to_old([first, last])
    assert not added_to_old([first, adds(39, onto=False)])
    assert not added_to_old([last])


def test_gradients_that_are_cleared_to_zero_or_accumulated_are_none() -> None:
    assert not added_to_old([adds(0, onto=False), adds(39, old=0.0)])
    assert not added_to_old([adds(0, onto=False, moves=False), adds(39, old=5.0)])


def test_a_training_that_diverges_is_told_that_its_gradients_add_up() -> None:
    lost = steps(curve(1.0, 1e3))
    (kept,) = conclude(evidence([adds(0, onto=False), adds(39, old=5.0)], lost, lost)).findings
    (cleared,) = conclude(evidence([adds(0, onto=False), adds(39)], lost, lost)).findings
    assert kept.rule == cleared.rule == "FL602"
    assert "zero_grad" in kept.remedies[0]
    assert "learning rate" in cleared.remedies[0]
