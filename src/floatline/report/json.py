"""The diagnosis as JSON: the contract that docs/json.md describes, version 2."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from floatline.precision.plan import Plan
from floatline.records import Configuration, Diagnosis, Finding, LayerRecord
from floatline.report.places import shown
from floatline.report.portable import portable
from floatline.report.sites import position, trace_rows

SCHEMA_VERSION = 2
"""Grows when a key goes or changes its meaning; new keys may come without."""


def to_json(diagnosis: Diagnosis, base: Path | None = None) -> dict[str, Any]:
    """The diagnosis as plain dictionaries, lists, text and finite numbers.

    Numbers that JSON cannot write become `"NaN"`, `"Infinity"` and `"-Infinity"`.

    Args:
        diagnosis: The whole answer.
        base: Files below this folder are named relative to it; the working folder if None.
    """
    base = base or Path.cwd()
    diagnosis = portable(diagnosis, base)
    evidence = diagnosis.evidence
    document = {
        "schema_version": SCHEMA_VERSION,
        "verdict": diagnosis.verdict,
        "explanation": diagnosis.explanation,
        "script": None if diagnosis.script is None else shown(diagnosis.script, base),
        "command": diagnosis.command,
        "findings": [_finding(finding, base) for finding in diagnosis.findings],
        "checks": diagnosis.checks,
        "not_traced": _not_traced(diagnosis),
        "notes": diagnosis.notes,
        "environment": diagnosis.environment,
        "configuration": _configuration(evidence.configuration, base),
        "history": evidence.history,
        "reference": evidence.reference,
        "traces": [trace_rows(trace, base) for trace in evidence.traces],
        "repair": diagnosis.repair,
        "sources": diagnosis.sources,
    }
    strict: dict[str, Any] = strictly(document)
    return strict


def dumps(diagnosis: Diagnosis, base: Path | None = None) -> str:
    """The diagnosis as JSON text with a newline at its end."""
    return f"{_written(to_json(diagnosis, base), 0)}\n"


_OPEN_LEVELS = 3
"""Depth from which a value is written on one line: a site or a step takes one, not forty."""


def _written(value: Any, level: int) -> str:
    """JSON text, one line per entry on the outer levels."""
    inside = "\n" + " " * (level + 1)
    outside = "\n" + " " * level
    if isinstance(value, dict) and value and level < _OPEN_LEVELS:
        entries = [f"{_line(key)}: {_written(item, level + 1)}" for key, item in value.items()]
        return f"{{{inside}{f',{inside}'.join(entries)}{outside}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        entries = [_written(item, level + 1) for item in value]
        if level <= _OPEN_LEVELS:
            return f"[{inside}{f',{inside}'.join(entries)}{outside}]"
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def strictly(value: Any) -> Any:
    """Turns sequences into lists, records into objects, and numbers into ones that strict JSON has.

    Example:

    >>> strictly({"loss": float("nan"), "shape": (None, 3), "largest": -float("inf")})
    {'loss': 'NaN', 'shape': [None, 3], 'largest': '-Infinity'}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return _finite(float(value))
    if isinstance(value, Mapping):
        return {str(key): strictly(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [strictly(item) for item in value]
    if isinstance(value, Plan):
        return json.loads(value.to_json())
    if dataclasses.is_dataclass(value):
        return {f.name: strictly(getattr(value, f.name)) for f in dataclasses.fields(value)}
    raise TypeError(f"A record holds {value!r}, which has no form in JSON.")


def _finite(value: float) -> float | str:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _finding(finding: Finding, base: Path) -> dict[str, Any]:
    place = finding.place
    return {
        "rule": finding.rule,
        "cause": finding.cause,
        "verdict": finding.verdict,
        "severity": finding.severity,
        "phase": finding.phase,
        "layer": place.layer if place else None,
        "layer_class": place.layer_class if place else None,
        "operation": place.operation if place else None,
        "operation_name": place.name if place else None,
        **position(place.source if place else None, base),
        **position(place.library if place else None, base, "library_"),
        "summary": finding.summary,
        "evidence": finding.evidence,
        "remedies": finding.remedies,
        "propagation": finding.propagation,
    }


def _not_traced(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    return [
        {
            "step": trace.step,
            "operation": entry.operation,
            "count": entry.count,
            "reason": entry.reason,
        }
        for trace in diagnosis.evidence.traces
        for entry in trace.not_traced
    ]


def _configuration(configuration: Configuration, base: Path) -> dict[str, Any]:
    return {
        "global_policy": configuration.global_policy,
        "optimizer": configuration.optimizer,
        "loss_scaling": configuration.loss_scaling,
        "initial_scale": configuration.initial_scale,
        "learning_rate": configuration.learning_rate,
        "entry": configuration.entry,
        **position(configuration.source, base),
        "epochs": configuration.epochs,
        "compiled": configuration.compiled,
        "layers": [_layer(layer, base) for layer in configuration.layers],
    }


def _layer(layer: LayerRecord, base: Path) -> dict[str, Any]:
    return {
        "path": layer.path,
        "layer_class": layer.layer_class,
        "compute_dtype": layer.compute_dtype,
        "variable_dtype": layer.variable_dtype,
        **position(layer.source, base),
        "epsilon": layer.epsilon,
    }
