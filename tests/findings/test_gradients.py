"""A flushed gradient is known by where it underflows, whatever becomes of it before the update."""

from __future__ import annotations

import pytest

from floatline.findings.gradients import layer_gradients
from floatline.records import Phase
from tests.findings.evidence import COUNT, Numbers, Sketch


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
