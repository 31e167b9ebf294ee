"""Older versions of the JSON form, brought to the present one; each step knows two versions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Document = dict[str, Any]


def upgraded(document: Document) -> Document:
    """The document in the present version; itself when it is already."""
    while document["schema_version"] in _STEPS:
        document = _STEPS[document["schema_version"]](document)
    return document


def _from_1(old: Document) -> Document:
    """Version 1 kept some sites of each trace under their numbers, and less of the repair."""
    new = copy.deepcopy(old)
    new["schema_version"] = 2
    new["traces"] = [_trace_from_1(trace, old["not_traced"]) for trace in new["traces"]]
    new["sources"] = []
    repair = new.setdefault("repair", None) or {}
    for part in (*repair.get("remedies", ()), *repair.get("trials", ())):
        part["plan"] = {"schema_version": 1, "rules": [], "loss_scale": None, "optimizer": []}
    return new


def _trace_from_1(trace: Document, not_traced: list[Document]) -> Document:
    kept = trace["sites"]
    number = {site["index"]: position for position, site in enumerate(kept)}
    for gradient in trace["gradients"]:
        if gradient["site"] not in number:
            number[gradient["site"]] = len(kept)
            kept.append(_site_of_gradient(gradient))
    for position, site in enumerate(kept):
        site["index"] = position
        site["inputs"] = [number[index] for index in site["inputs"] if index in number]
    for gradient in trace["gradients"]:
        gradient["site"] = number[gradient["site"]]
    return {
        **trace,
        "sites_left_out": trace["operations_measured"] - len(kept),
        "not_traced": [entry for entry in not_traced if entry["step"] == trace["step"]],
        "notes": [],
        "losses": [],
        "summaries": [],
    }


def _site_of_gradient(gradient: Document) -> Document:
    """A gradient that had nothing to tell was no site in version 1; its counts were kept."""
    shared = gradient["flushed_share"]
    nonzero = round(gradient["flushed"] / shared) if shared else gradient["count"]
    return {
        "index": 0,
        "layer": gradient["layer"],
        "operation": "gradient",
        "operation_name": gradient["variable"],
        "phase": "backward",
        **dict.fromkeys(("file", "line", "library_file", "library_line")),
        "role": "value",
        "dtype": gradient["dtype"],
        "shape": [],
        "inputs": [],
        "variable": gradient["variable"],
        "constant": None,
        "statistics": {
            "count": gradient["count"],
            "nan": gradient["nonfinite"],
            "shadow_nan": gradient["shadow_nonfinite"],
            "shadow_zero": max(0, gradient["count"] - gradient["shadow_nonfinite"] - nonzero),
            "flushed": gradient["flushed"],
            "max_abs": gradient["max_abs"],
            "min_abs_nonzero": gradient["min_abs_nonzero"],
            "error": gradient["error"],
        },
    }


_STEPS: Mapping[int, Callable[[Document], Document]] = MappingProxyType({1: _from_1})
