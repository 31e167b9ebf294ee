"""What every rule reads: the evidence, what became of the training, and the origins of faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from floatline.findings.gradients import LayerGradient, layer_gradients
from floatline.findings.graph import graph, low
from floatline.findings.origins import Origin, compiled_reciprocals, float32_breakdowns, overflows
from floatline.findings.outcome import Outcome, outcome
from floatline.findings.silent import silent_origins
from floatline.findings.still import stands_still
from floatline.formats import LOW_FORMATS
from floatline.records import Evidence, Trace


@dataclass(frozen=True, slots=True)
class Case:
    """Evidence, studied once.

    Attributes:
        evidence: What was measured.
        outcome: What became of the training.
        loud: Origins whose non-finite values reach the loss or a gradient, in execution order.
        silent: Origins of faults that leave the loss and the gradients finite.
        disputed: Loud origins of traces that the compiled step does not agree with.
        breakdowns: Origins that are non-finite in float32 too.
        gradients: For every trace that agrees, its gradients by layer.
        backend: Name of the framework, where it is known.
    """

    evidence: Evidence
    outcome: Outcome
    loud: tuple[Origin, ...]
    silent: tuple[Origin, ...]
    disputed: tuple[Origin, ...]
    breakdowns: tuple[Origin, ...]
    gradients: tuple[tuple[LayerGradient, ...], ...]
    backend: str | None = None

    @property
    def computes_low(self) -> bool:
        """Whether anything computes in half precision."""
        layers = self.evidence.configuration.layers
        if any(layer.compute_dtype in LOW_FORMATS for layer in layers):
            return True
        return any(low(site) is not None for t in self.evidence.traces for site in t.sites)

    @property
    def untraced(self) -> bool:
        """Whether a half-precision training was watched and no step of it was traced."""
        return self.computes_low and not self.evidence.traces


def study(evidence: Evidence, backend: str | None = None) -> Case:
    """Finds the origins in every trace and compares the training with float32."""
    agreed = tuple(trace for trace in evidence.traces if trace.agrees is not False)
    disputed = tuple(trace for trace in evidence.traces if trace.agrees is False)
    found = [origin for trace in agreed for origin in overflows(trace)]
    loud = _decisive([o for o in found if o.reach != "none"])
    state = _outcome(evidence, agreed)
    return Case(
        evidence=evidence,
        outcome=state,
        loud=loud or tuple(o for t in disputed[:1] for o in compiled_reciprocals(t)),
        silent=_silent(agreed, [o for o in found if o.reach == "none"], state.rebuilt_only),
        disputed=tuple(o for t in disputed for o in overflows(t) if o.reach != "none"),
        breakdowns=tuple(o for t in agreed for o in float32_breakdowns(t)),
        gradients=tuple(layer_gradients(trace) for trace in agreed if trace.gradients),
        backend=backend,
    )


def _outcome(evidence: Evidence, traces: tuple[Trace, ...]) -> Outcome:
    """What became of the training, as the traces show it.

    Float32 proves nothing by failing on a broken constant. A training whose weights stand still
    needs not fall as far behind as others before that is no accident.
    """
    result = outcome(evidence)
    views = (graph(trace) for trace in traces)
    if result.float32_fails and any(view.inherited & view.ends for view in views):
        return replace(result, float32_fails=None)
    both = result.comparison
    if both and both.behind and stands_still(traces):
        return replace(result, comparison=replace(both, worse=True))
    return result


def _decisive(origins: list[Origin]) -> tuple[Origin, ...]:
    """The origins of one trace: the earliest with a forward fault, which no loss scale cures.

    Without one, that of the lowest loss scale: what still overflows there is the fault, what
    overflows at the first scale is often only the search for it.
    """
    if not origins:
        return ()
    forward = [origin for origin in origins if origin.forward]
    usable = [o for o in origins if _scale(o.trace) > 0] or origins
    chosen = forward[0].trace if forward else min(usable, key=lambda o: _scale(o.trace)).trace
    return tuple(origin for origin in forward or origins if origin.trace is chosen)


def _scale(trace: Trace) -> float:
    scale = trace.loss_scale
    return 1.0 if scale is None or math.isnan(scale) else scale


def _silent(
    traces: tuple[Trace, ...], overflowing: list[Origin], bounds_differ: bool
) -> tuple[Origin, ...]:
    found = list(overflowing)
    for trace in traces:
        found += silent_origins(trace, first=trace.step == 0, bounds_differ=bounds_differ)
    best: dict[str, Origin] = {}
    for origin in found:
        best.setdefault(origin.rule, origin)
    return tuple(best.values())
