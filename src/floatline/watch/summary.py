"""A sample in a handful of numbers, and in words for a log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from floatline.formats import FORMATS
from floatline.watch.records import Reading, Sample

LOGS = ("loss_scale", "skipped_steps", "flushed", "update_ratio", "lost_updates", "headroom")
"""What a watch adds to the logs of `fit`, as far as it is known."""


def of_reading(reading: Reading) -> dict[str, float]:
    """The numbers of a reading for the logs."""
    if reading.scaling is None:
        return {}
    return {"loss_scale": reading.scaling.scale, "skipped_steps": reading.scaling.skipped}


def of_sample(sample: Sample) -> dict[str, float]:
    """The numbers of a sample for the logs.

    Returns:
        `flushed`: of all gradient elements that are not 0 in truth, as far as that was seen, the
        share that is flushed to 0. `update_ratio`: sum |update| / sum |weight|. `lost_updates`:
        share of the elements with a gradient that did not move. `headroom`: powers of two between
        the largest activation and the end of its dtype, where that is least.
    """
    numbers: dict[str, float] = {}
    entries = sample.variables
    known = [(entry.flushed, entry.nonzero) for entry in entries if entry.flushed is not None]
    if known:
        lost = sum(flushed for flushed, _ in known)
        numbers["flushed"] = _share(lost, lost + sum(nonzero for _, nonzero in known))
    if sample.applied:
        update, weight = sum(e.update for e in entries), sum(e.weight for e in entries)
        numbers["update_ratio"] = _share(update, weight)
        numbers["lost_updates"] = _share(
            sum(e.lost for e in entries), sum(e.nonzero for e in entries)
        )
    rooms = [headroom(entry.largest, entry.dtype) for entry in sample.activations]
    if rooms:
        numbers["headroom"] = min(rooms)
    return numbers


def headroom(largest: float, dtype: str) -> float:
    """Powers of two between a magnitude and the end of its format.

    >>> round(headroom(32752.0, "float16"), 3)
    1.0
    >>> headroom(float("inf"), "float16")
    0.0
    """
    if not math.isfinite(largest):
        return 0.0
    limit = math.log2(FORMATS[dtype].max_finite)
    return max(0.0, limit - math.log2(largest)) if largest > 0 else math.inf


def layers(sample: Sample) -> list[dict[str, Any]]:
    """The sample by layer, in the order of the forward pass, then that of the gradients."""
    found: dict[str, dict[str, Any]] = {}
    for activation in sample.activations:
        entry = found.setdefault(activation.layer, {"layer": activation.layer})
        room = headroom(activation.largest, activation.dtype)
        if room <= entry.get("headroom", math.inf):
            entry |= {"dtype": activation.dtype, "activation": activation.largest, "headroom": room}
    for path in dict.fromkeys(entry.layer for entry in sample.variables):
        own = [entry for entry in sample.variables if entry.layer == path]
        part = Sample(sample.step, sample.applied, sample.boost, tuple(own), ())
        found.setdefault(path, {"layer": path}).update(
            gradient=max(entry.largest for entry in own), **of_sample(part)
        )
    return list(found.values())


def record(kind: str, contents: Any) -> Mapping[str, Any]:
    """One line of a log: what it is, then its fields."""
    return {"record": kind, **asdict(contents)}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
