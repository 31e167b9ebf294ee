"""A diagnosis made fit to be kept: paths as people know them, traces no larger than needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from floatline.findings.path import origin, way
from floatline.findings.summaries import fewer, summaries
from floatline.findings.window import decisive_sites
from floatline.formats import FORMATS
from floatline.records import Diagnosis, Finding, Site, SourceLine, SourceText, Trace
from floatline.repairs import SourceChange
from floatline.report.places import shown
from floatline.report.sites import is_origin, is_telling

MAX_SITES = 600
"""Sites that a trace keeps. One takes about 700 bytes; a deep transformer has 15,000 of them."""

MAX_SUMMARIES = 900
"""Groups of sites that a smaller trace keeps in their stead, 450 bytes each."""


def portable(diagnosis: Diagnosis, base: Path | None = None) -> Diagnosis:
    """What the files of a diagnosis hold; of a portable diagnosis that is the diagnosis itself.

    Args:
        diagnosis: The whole answer.
        base: Files below this folder are named relative to it; the working folder if None.
    """
    base = base or Path.cwd()
    findings = diagnosis.findings
    traces = tuple(smaller(trace, findings) for trace in diagnosis.evidence.traces)
    evidence = dataclasses.replace(diagnosis.evidence, traces=traces)
    script = None if diagnosis.script is None else shown(diagnosis.script, base)
    kept = dataclasses.replace(diagnosis, evidence=evidence, script=script)
    renamed: Diagnosis = _renamed(kept, base)
    return renamed


def smaller(trace: Trace, findings: Sequence[Finding] = (), limit: int = MAX_SITES) -> Trace:
    """The trace with at most `limit` sites, and all of them in groups; itself when it is small.

    What the findings, the gradients and the loss need comes first, then where faults begin, then
    where they pass, then the rest in execution order. Ways that led through a site that is left
    out lead past it.
    """
    if len(trace.sites) <= limit:
        return trace
    ranked = dict.fromkeys(site.index for site in _ranked(trace, findings))
    kept = sorted(list(ranked)[:limit])
    number = {index: position for position, index in enumerate(kept)}
    gradients = tuple(g for g in trace.gradients if g.site in number)
    return dataclasses.replace(
        trace,
        sites=tuple(_relinked(trace, number)),
        gradients=tuple(dataclasses.replace(g, site=number[g.site]) for g in gradients),
        losses=tuple(number[index] for index in trace.losses if index in number),
        summaries=fewer(summaries(trace), MAX_SUMMARIES),
        left_out=trace.left_out + len(trace.sites) - len(kept),
    )


def _ranked(trace: Trace, findings: Sequence[Finding]) -> Iterator[Site]:
    for finding in findings:
        found = origin(finding, [trace])
        if found is not None:
            yield from way(*found)
    for group in (trace.losses, decisive_sites(trace, FORMATS), (g.site for g in trace.gradients)):
        yield from (trace.sites[index] for index in sorted(group))
    yield from (site for site in trace.sites if is_origin(site.statistics))
    yield from (site for site in trace.sites if is_telling(site.statistics))
    yield from trace.sites


def _relinked(trace: Trace, number: dict[int, int]) -> Iterator[Site]:
    """The kept sites under their new numbers; what they read is the nearest that is kept."""
    through: dict[int, tuple[int, ...]] = {}
    for site in trace.sites:
        nearest = dict.fromkeys(
            reached
            for index in site.inputs
            for reached in ((number[index],) if index in number else through.get(index, ()))
        )
        if site.index in number:
            yield dataclasses.replace(site, index=number[site.index], inputs=tuple(nearest))
        else:
            through[site.index] = tuple(nearest)[:_MOST_INPUTS]


_MOST_INPUTS = 8
"""Nearest kept values that a value left out stands for: more would be most of the step."""


def _renamed(record: Any, base: Path) -> Any:
    """The record with every source file named relative to `base`."""
    if isinstance(record, SourceLine | SourceText | SourceChange):
        file = shown(record.file, base)
        return record if file == record.file else dataclasses.replace(record, file=file)
    if isinstance(record, tuple):
        items = tuple(_renamed(item, base) for item in record)
        return items if any(a is not b for a, b in zip(items, record, strict=True)) else record
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        return record
    before = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    after = {name: _renamed(value, base) for name, value in before.items()}
    changed = {name: value for name, value in after.items() if value is not before[name]}
    return dataclasses.replace(record, **changed) if changed else record
