"""A healthy training that would lose values on a device that holds them in 16 bits."""

from __future__ import annotations

import dataclasses

from floatline.records import Evidence, Widened
from tests.findings.evidence import Sketch, evidence, learns


def wide_here() -> Evidence:
    """Squares that only this device holds in float32, on the way to a gradient that fits."""
    sketch = Sketch()
    loss = sketch.loss(sketch.add("atan2"))
    square = sketch.add("mul", loss, phase="backward", dtype="float32", max_abs=5e5)
    sketch.gradient("block", sketch.add("mul", square, phase="backward"))
    trace = sketch.trace(0, "first", 2.0**15)
    here = dataclasses.replace(trace.sites[square], dtype_elsewhere="float16")
    sites = tuple(here if site.index == square else site for site in trace.sites)
    widened = (Widened("arctan2", "float16", 3),)
    told = dataclasses.replace(trace, sites=sites, widened=widened)
    return evidence([told], learns(), learns())
