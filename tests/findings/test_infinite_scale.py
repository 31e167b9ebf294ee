"""A loss scale that becomes infinite: for want of a gradient, or of a format that holds it."""

from __future__ import annotations

from floatline.records import Evidence, StepRecord
from tests.findings.evidence import INF, Sketch, conclude, curve, evidence, steps


def grown(*scales: float) -> Evidence:
    """A training that learns under these scales, ten steps each, and is skipped at infinity."""
    losses = curve(1.0, 0.1, 10 * len(scales))
    records = [
        StepRecord(i, loss, scale < INF, (), scale == INF, scale)
        for i, loss in enumerate(losses)
        for scale in [scales[i // 10]]
    ]
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("dot_general")))
    return evidence([sketch.trace(0, "first", scales[0])], records, steps(losses))


def test_one_in_float16_is_infinite_after_its_last_power_of_two() -> None:
    judgement = conclude(grown(2.0**14, 2.0**15, INF, INF, INF))
    assert judgement.verdict == "precision"
    first = judgement.findings[0]
    assert first.rule == "FL403"
    assert "from 3.28e+04 to infinity at step 20: it is kept in float16" in first.summary
    assert len(first.remedies) == 1
    assert "float32" in first.remedies[0]


def test_one_in_float32_has_met_no_gradient() -> None:
    first = conclude(grown(2.0**15, 2.0**90, INF, INF, INF)).findings[0]
    assert first.rule == "FL403"
    assert "never met a gradient" in first.summary
    assert not any("float32" in remedy for remedy in first.remedies)
