"""Where in the model a fault lies, and which layers lie behind it, read from a trace."""

from __future__ import annotations

from collections.abc import Iterable

from floatline.formats import LOW_FORMATS
from floatline.records import Finding, Trace


def layers_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The layers that findings name, most likely root cause first, each once."""
    named = (finding.place.layer for finding in findings if finding.place is not None)
    return tuple(dict.fromkeys(layer for layer in named if layer))


def sharing_line(finding: Finding, traces: Iterable[Trace]) -> tuple[str, ...]:
    """The layers in which the line that a finding names runs: what is wrong in one may be in all.

    None where it runs in one only.
    """
    place = finding.place
    if place is None or place.source is None or not place.layer:
        return ()
    found = dict.fromkeys(
        site.place.layer
        for trace in traces
        for site in trace.sites
        if site.place.source == place.source and site.place.layer
    )
    return tuple(found) if len(found) > 1 else ()


def forward_order(traces: Iterable[Trace]) -> tuple[str, ...]:
    """Every layer that computes in the forward pass, in the order in which they first do."""
    return tuple(
        dict.fromkeys(
            site.place.layer
            for trace in traces
            for site in trace.sites
            if site.place.phase == "forward" and site.place.layer
        )
    )


def followed_by(layers: Iterable[str], traces: Iterable[Trace]) -> tuple[str, ...]:
    """The layers that read directly what `layers` put out in the forward pass."""
    wanted = set(layers)
    found: dict[str, None] = {}
    for trace in traces:
        for site in trace.sites:
            layer = site.place.layer
            if layer is None or layer in wanted or site.place.phase != "forward":
                continue
            if any(trace.sites[source].place.layer in wanted for source in site.inputs):
                found[layer] = None
    return tuple(found)


def feeding_the_loss(traces: Iterable[Trace]) -> tuple[str, ...]:
    """The layers whose values operations outside every layer read in the forward pass."""
    found: dict[str, None] = {}
    for trace in traces:
        for site in trace.sites:
            if site.place.layer is None and site.place.phase == "forward":
                read = (trace.sites[source].place for source in site.inputs)
                found |= {place.layer: None for place in read if place.layer}
    return tuple(found)


def casting_inputs(traces: Iterable[Trace]) -> tuple[str, ...]:
    """What casts the batch to 16 bits before anything else is computed: layers, or a model."""
    found: dict[str, None] = {}
    for trace in traces:
        for site in trace.sites:
            inputs = [trace.sites[source].role == "input" for source in site.inputs]
            if site.place.layer and site.dtype in LOW_FORMATS and inputs and all(inputs):
                found[site.place.layer] = None
    return tuple(found)
