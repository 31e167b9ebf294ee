"""Findings as the page shows them: place, code, evidence, the way to the loss, what to do."""

from __future__ import annotations

from typing import Any

from floatline.findings.path import origin, way
from floatline.records import Diagnosis, Finding, Site, Trace
from floatline.report import numbers
from floatline.report.html.code import snippet

MAX_WAY = 14
"""Operations of a way that are listed; of a longer one the middle is counted."""


def findings(diagnosis: Diagnosis, severity: str) -> list[dict[str, Any]]:
    """The failures, or the advice, in their order."""
    chosen = [finding for finding in diagnosis.findings if finding.severity == severity]
    return [_finding(finding, diagnosis) for finding in chosen]


def _finding(finding: Finding, diagnosis: Diagnosis) -> dict[str, Any]:
    place = finding.place
    source = place.source if place else None
    return {
        "rule": finding.rule,
        "cause": finding.cause,
        "phase": finding.phase,
        "summary": finding.summary,
        "place": place,
        "code": snippet(diagnosis, source.file, source.line) if source else [],
        "evidence": [
            (numbers.label(name), numbers.evidence(name, value))
            for name, value in finding.evidence.items()
        ],
        "remedies": finding.remedies,
        "propagation": finding.propagation,
        **_way(finding, diagnosis),
    }


def _way(finding: Finding, diagnosis: Diagnosis) -> dict[str, Any]:
    start = origin(finding, diagnosis.evidence.traces)
    if start is None:
        return {"way": [], "way_length": 0, "way_ends": None}
    trace, site = start
    sites = way(trace, site)
    return {
        "way": _shortened([_stop(site) for site in sites]),
        "way_length": len(sites),
        "way_ends": _end(trace, sites[-1]),
    }


def _end(trace: Trace, site: Site) -> str | None:
    if site.index in trace.losses:
        return "the loss"
    ends = [gradient.variable for gradient in trace.gradients if gradient.site == site.index]
    return f"the gradient of {ends[0]}" if ends else None


def _stop(site: Site) -> dict[str, Any]:
    measured = site.statistics
    power = numbers.exponent(measured.max_abs)
    largest = "0" if power is None else f"2^{round(power)}"
    bad = {
        "overflow": measured.saturated,
        "NaN": measured.poisoned,
        "flushed": measured.flushed,
    }
    return {
        "operation": site.place.operation,
        "layer": site.place.layer or "outside every layer",
        "phase": site.place.phase,
        "dtype": site.dtype,
        "largest": largest,
        "bad": ", ".join(f"{count:,} {what}" for what, count in bad.items() if count),
        "gap": None,
    }


def _shortened(stops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(stops) <= MAX_WAY:
        return stops
    half = MAX_WAY // 2
    gap = numbers.counted(len(stops) - 2 * half, "further operation")
    return [*stops[:half], {"gap": gap}, *stops[-half:]]
