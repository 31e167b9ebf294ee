"""A mask of -inf is -inf in float32 as well, whatever stands around it; a lost variance is not."""

from __future__ import annotations

import pytest

from floatline.findings.graph import graph
from floatline.records import Evidence
from tests.findings.evidence import Numbers, Sketch, curve, evidence, learns, rules_found, steps

HIDDEN: Numbers = {"inf": 40, "shadow_inf": 40, "local_nonfinite": 40}


def attention(*, added: bool) -> Sketch:
    """A softmax as JAX composes it, between scores with a literal -inf and a normalisation.

    Args:
        added: Whether the mask is added, or put in place by `where`, which leaves no site.
    """
    sketch = Sketch()
    scores = sketch.add("dot_general")
    if added:
        scores = sketch.add("add", scores, **HIDDEN)
    largest = sketch.add("reduce_max", scores, count=10)
    apart = sketch.add("sub", scores, largest, **HIDDEN)
    power = sketch.add("exp", apart)
    share = sketch.add("div", power, sketch.add("reduce_sum", power, count=10))
    mixed = sketch.add("dot_general", share, sketch.add("dot_general"))
    root = sketch.add("rsqrt", sketch.add("reduce_sum", sketch.add("square", mixed)))
    loss = sketch.loss(sketch.add("mul", mixed, root))
    # At the first loss scale gradients overflow, which is a search and no fault.
    gradient = sketch.overflow("dot_general", loss, phase="backward")
    sketch.gradient("block", gradient, inf=2, saturated=2)
    return sketch


def searched(sketch: Sketch) -> Evidence:
    own = steps(curve(1.0, 0.1), skipped=[0, 1], scale=2.0**15)
    return evidence([sketch.trace(0, "first", 2.0**15)], own, learns())


@pytest.mark.parametrize("added", [False, True])
def test_a_mask_before_a_softmax_is_no_lost_constant(*, added: bool) -> None:
    sketch = attention(added=added)
    assert graph(sketch.trace()).inherited == frozenset()
    assert rules_found(searched(sketch)) == []


def test_what_is_infinite_and_divides_is_one() -> None:
    sketch = Sketch()
    centred = sketch.add("sub", sketch.add("convert_element_type"))
    root = sketch.add("mul", **{**HIDDEN, "inf": 100, "shadow_inf": 100})
    sketch.add("div", centred, root, zero=100, shadow_zero=100)
    sketch.add("exp", root)
    assert graph(sketch.trace()).inherited == {root}
