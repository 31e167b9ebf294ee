"""Decides whether flushed gradients harm training; shared by the two rules on the loss scale."""

from __future__ import annotations

from floatline.findings.case import Case
from floatline.findings.gradients import LayerGradient
from floatline.findings.origin_rule import FLOAT32_FIRST, harm
from floatline.findings.outcome import COMPARABLE_STEPS, RATIO_AT_START, scaling_unused
from floatline.findings.rule import REFERENCE, TRACES, CannotTell, Clear, Result, Rule
from floatline.findings.scale_advice import Advice, scale_advice
from floatline.findings.words import share
from floatline.records import Number, Statistics, Trace

DECISIVE_SHARE = 0.5
"""Share of a layer's gradient, in elements and in magnitude, that must be gone when training
does worse than float32: from half on, the layer follows another direction."""

GONE_SHARE = 0.9
"""The same share when the loss shows nothing yet: practically the whole layer stands still."""

HEALTHY_SHARE = 0.1
"""A layer that keeps all but this share: it shows that the loss still sends a gradient."""

TOTAL_SHARE = 0.1
"""Share of all gradient elements in such layers, below which training hardly notices."""

SHOWN_LAYERS = 8
"""Layers whose share is listed in the evidence."""


def gradient_underflow(rule: Rule, case: Case, remark: str, advice: Advice) -> Result:
    """Found when training does worse, or when layers stand still from the first step to the last.

    Args:
        rule: The rule that asks.
        case: The case.
        remark: How the sentence ends: what about the loss scale is wrong.
        advice: What to do in a loop without an optimizer of Keras'.
    """
    state = case.outcome
    if case.untraced:
        return CannotTell(TRACES)
    if state.ends_broken:
        return Clear()
    suspects = [(t, g) for t, g in _traced(case) if _decisive(g, DECISIVE_SHARE)]
    still = _still(case) or _unmoved(case)
    if not suspects or (state.worse is False and not still):
        return Clear()
    if state.float32_fails:
        return CannotTell(FLOAT32_FIRST)
    if state.worse is None and not still:
        return CannotTell(REFERENCE)
    trace, gradients = suspects[0]
    hit = [g for g in gradients if g.decisive(DECISIVE_SHARE)]
    worst = max(hit, key=lambda g: (g.lost, g.nonzero))
    what = "nonzero gradient" if worst.share >= worst.shrunk else "magnitude of the gradient"
    names = f"layer '{worst.layer}'" if len(hit) == 1 else f"{len(hit)} layers"
    summary = (
        f"{share(worst.lost)} of the {what} of layer '{worst.layer}' is flushed to 0"
        f" in half precision; {names} of {len(gradients)} lose more than half of it: {remark}"
    )
    # The loss has no line of the user's when the framework computes it; then the layer's own.
    own = worst.origin is None or worst.origin.place.source is None
    place = worst.site.place if own or worst.origin is None else worst.origin.place
    measured = {**_numbers(trace, gradients), **harm(case)}
    return rule.found(summary, measured, place=place, remedies=scale_advice(case, advice))


def scales(case: Case) -> bool:
    """Whether a loss scale is in force, by configuration or as traced."""
    evidence = case.evidence
    traced = any(trace.loss_scale is not None for trace in evidence.traces)
    return traced or (evidence.configuration.loss_scaling and not scaling_unused(evidence))


def suspicious(case: Case) -> bool:
    """Whether some traced step flushes gradients decisively, so that the loss must decide."""
    return any(_decisive(gradients, DECISIVE_SHARE) for _, gradients in _traced(case))


def _traced(case: Case) -> list[tuple[Trace, tuple[LayerGradient, ...]]]:
    traces = [t for t in case.evidence.traces if t.agrees is not False and t.gradients]
    return list(zip(traces, case.gradients, strict=True))


def _decisive(gradients: tuple[LayerGradient, ...], level: float) -> bool:
    total = sum(g.elements for g in gradients)
    return 0 < TOTAL_SHARE * total <= sum(g.elements for g in gradients if g.decisive(level))


def _still(case: Case) -> bool:
    """Whether layers stand still in the first and the last traced step while others do not."""
    if not case.gradients:
        return False
    ends = (case.gradients[0], case.gradients[-1])
    gone = [{g.layer for g in end if g.decisive(GONE_SHARE)} for end in ends]
    healthy = [any(g.nonzero and g.share < HEALTHY_SHARE for g in end) for end in ends]
    both = gone[0] & gone[1]
    elements = sum(g.elements for g in ends[1])
    standing = sum(g.elements for g in ends[1] if g.layer in both)
    return all(healthy) and 0 < TOTAL_SHARE * elements <= standing


def _unmoved(case: Case) -> bool:
    """Whether layers end where they began, for want of a gradient, while the others moved.

    Behind a layer that starts at zero float32 has no gradient either in the first step. Such a
    task may be one that the others solve alone, so float32's loss has to be better.
    """
    both, traced = case.outcome.comparison, _traced(case)
    if both is None or both.own < RATIO_AT_START * both.reference or len(traced) < 2:
        return False
    (first, before), (last, now) = traced[0], traced[-1]
    if last.step - first.step < COMPARABLE_STEPS:
        return False
    began = {g.layer for g in before if not g.nonzero or g.decisive(GONE_SHARE)}
    gone = {g.layer for g in now if g.decisive(GONE_SHARE)} & began
    held = {g.layer: _held(first, last, g.layer) for g in now}
    standing = sum(g.elements for g in now if g.layer in gone and held[g.layer])
    moves = any(not stays for layer, stays in held.items() if layer not in gone)
    return moves and 0 < TOTAL_SHARE * sum(g.elements for g in now) <= standing


def _held(first: Trace, last: Trace, layer: str) -> bool:
    """Whether the weights of a layer are the same in two steps, as far as their statistics tell."""
    before, now = _weights(first, layer), _weights(last, layer)
    return bool(before) and before == now


def _weights(trace: Trace, layer: str) -> dict[str, Statistics]:
    names = {g.variable for g in trace.gradients if (g.layer or g.variable) == layer}
    read = (s for s in trace.sites if s.role == "parameter" and s.variable in names)
    return {str(site.variable): site.statistics for site in read}


def _numbers(trace: Trace, gradients: tuple[LayerGradient, ...]) -> dict[str, Number]:
    nonzero = sum(g.nonzero for g in gradients)
    result: dict[str, Number] = {
        "step": trace.step,
        "flushed_share": sum(g.flushed for g in gradients) / nonzero if nonzero else 0.0,
        "layers": len(gradients),
    }
    if trace.loss_scale is not None:
        result["loss_scale"] = trace.loss_scale
    listed = [g for g in gradients if g.nonzero]
    for gradient in sorted(listed, key=lambda g: -g.lost)[:SHOWN_LAYERS]:
        result[f"flushed_share[{gradient.layer}]"] = gradient.lost
    return result
