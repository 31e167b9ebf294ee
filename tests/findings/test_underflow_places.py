"""Where a logarithm breaks on what was flushed to 0 elsewhere, both lines are told."""

from __future__ import annotations

import dataclasses

from floatline.records import Evidence
from tests.findings.evidence import NAN, Sketch, conclude, evidence, learns, steps


def vanishing(*, apart: bool) -> Evidence:
    """A product of many probabilities, and the logarithm of what became of it."""
    sketch = Sketch()
    product = sketch.add("mul", sketch.add("div"), flushed=60, local_flushed=9, max_abs=1e-3)
    total = sketch.add("reduce_sum", product, zero=4, flushed=4, count=4, error=1.0)
    log = sketch.breaks("log", total, n=4, count=4)
    if not apart:
        place = dataclasses.replace(sketch.sites[1].place, source=sketch.sites[log].place.source)
        sketch.sites[1] = dataclasses.replace(sketch.sites[1], place=place)
    loss = sketch.loss(sketch.passes("reduce_mean", log), nan=1, poisoned=1)
    sketch.gradient("block", loss, nan=9, poisoned=9)
    return evidence([sketch.trace()], steps([NAN] * 40, bad=range(40)), learns())


def test_the_line_that_flushed_is_told_where_it_is_another() -> None:
    first = conclude(vanishing(apart=True)).findings[0]
    assert first.rule == "FL204"
    assert first.summary.startswith(
        "Log in layer 'block' (train.py:13) breaks on a value that underflowed to 0 in mul in"
        " layer 'block' (train.py:11): 4 of 4"
    )


def test_one_line_is_told_once() -> None:
    first = conclude(vanishing(apart=False)).findings[0]
    assert first.rule == "FL204"
    assert "underflowed to 0: 4 of 4" in first.summary
