"""A training whose targets do not belong to their inputs, in plain numbers."""

from __future__ import annotations

import dataclasses
import math

from floatline.records import Configuration, Evidence, History, Reference, Trace
from tests.findings.evidence import Sketch, configuration, evidence, steps


def trace_of_a_loss() -> Trace:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    return sketch.trace()


def several_epochs() -> Configuration:
    return dataclasses.replace(configuration(), epochs=5)


def shuffled_targets() -> Evidence:
    levels = steps([1.2] * 10 + [1.0 + 0.1 * math.sin(step) for step in range(90)])
    others = tuple(
        steps([1.2] * 10 + [1.0 + 0.1 * math.sin(step + lag) for step in range(90)])
        for lag in (0.05, 0.1, 0.15)
    )
    told = evidence([trace_of_a_loss()], levels, levels, config=several_epochs())
    history = History(levels, "end of training")
    reference = Reference(levels, dealt_out=others)
    return dataclasses.replace(told, history=history, reference=reference)
