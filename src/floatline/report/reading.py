"""A diagnosis from its JSON form: the way back of `report.json`, for this and older versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from floatline.errors import InputError
from floatline.precision.plan import Plan
from floatline.records import Diagnosis, Trace
from floatline.repairs import Remedy, Repair, Trial
from floatline.report.decoding import decode
from floatline.report.json import SCHEMA_VERSION
from floatline.report.upgrades import upgraded

_SAVE = "Name a file that `floatline diagnose --json FILE` or `diagnosis.save` has written."


def loads(text: str) -> Diagnosis:
    """The diagnosis that a JSON text holds.

    Args:
        text: What `report.json.dumps` wrote, in this or an older version of the form.

    Returns:
        The diagnosis as it was written: of traces too large for the file, what was kept.

    Raises:
        InputError: It is no JSON, a newer version, or no diagnosis; the message says where.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"This is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.", _SAVE
        ) from error
    _check_version(document)
    try:
        return _diagnosis(upgraded(document))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"This is no diagnosis: {type(error).__name__}: {error}.", _SAVE
        ) from error


def _check_version(document: Any) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1 or "findings" not in document:
        raise InputError("This JSON is no diagnosis of Floatline's.", _SAVE)
    if version > SCHEMA_VERSION:
        raise InputError(
            f"The diagnosis has schema version {version}; this Floatline reads up to "
            f"{SCHEMA_VERSION}.",
            "Update Floatline: pip install --upgrade floatline",
        )


def _diagnosis(document: Mapping[str, Any]) -> Diagnosis:
    evidence = {
        "configuration": _configuration(document["configuration"]),
        "history": document["history"],
        "reference": document["reference"],
    }
    shaped = {
        **{key: document[key] for key in ("verdict", "explanation", "script", "command", "notes")},
        "findings": [_finding(finding) for finding in document["findings"]],
        "checks": document["checks"],
        "environment": document["environment"],
        "evidence": evidence,
        "sources": document["sources"],
    }
    bare: Diagnosis = decode(Diagnosis, shaped, "the diagnosis")
    traces = tuple(_trace(trace, f"traces[{i}]") for i, trace in enumerate(document["traces"]))
    return _completed(bare, traces, _repair(document["repair"]))


def _completed(bare: Diagnosis, traces: tuple[Trace, ...], repair: Repair | None) -> Diagnosis:
    return replace(bare, evidence=replace(bare.evidence, traces=traces), repair=repair)


def _line(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any] | None:
    file, line = row[f"{prefix}file"], row[f"{prefix}line"]
    return None if file is None else {"file": file, "line": line}


def _place(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["operation"] is None:
        return None
    return {
        "layer": row["layer"],
        "operation": row["operation"],
        "name": row["operation_name"],
        "phase": row["phase"],
        "source": _line(row),
        "library": _line(row, "library_"),
        "layer_class": row.get("layer_class"),
    }


def _finding(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "place": _place(row)}


def _configuration(row: Mapping[str, Any]) -> dict[str, Any]:
    layers = [{**layer, "source": _line(layer)} for layer in row["layers"]]
    return {**row, "source": _line(row), "layers": layers}


def _trace(row: Mapping[str, Any], where: str) -> Trace:
    shaped = {
        **row,
        "moved": row["operations_moved"],
        "left_out": row["sites_left_out"],
        "sites": [{**site, "place": _place(site)} for site in row["sites"]],
        "summaries": [{**group, "source": _line(group)} for group in row["summaries"]],
    }
    trace: Trace = decode(Trace, shaped, where)
    _check_numbers(trace, where)
    return trace


def _check_numbers(trace: Trace, where: str) -> None:
    """Sites are pointed at by their position; a number that points nowhere is a broken file."""
    size = len(trace.sites)
    pointers = [*trace.losses, *(gradient.site for gradient in trace.gradients)]
    for position, site in enumerate(trace.sites):
        pointers += site.inputs
        if site.index != position:
            raise InputError(f"{where}.sites[{position}] has the index {site.index}.", _SAVE)
    for pointer in pointers:
        if not 0 <= pointer < size:
            raise InputError(f"{where} points at site {pointer} of {size}.", _SAVE)


def _repair(row: Mapping[str, Any] | None) -> Repair | None:
    if row is None:
        return None
    plain = {**row, "plan": None, "remedies": [], "trials": []}
    repair: Repair = decode(Repair, plain, "repair")
    return replace(
        repair,
        plan=None if row["plan"] is None else _plan(row["plan"]),
        remedies=tuple(_part(Remedy, part, "remedies") for part in row["remedies"]),
        trials=tuple(_part(Trial, part, "trials") for part in row["trials"]),
    )


def _part(kind: type[Any], row: Mapping[str, Any], where: str) -> Any:
    bare = decode(kind, {**row, "plan": {}}, f"repair.{where}")
    return replace(bare, plan=_plan(row["plan"]))


def _plan(row: Any) -> Plan:
    return Plan.from_json(json.dumps(row))
