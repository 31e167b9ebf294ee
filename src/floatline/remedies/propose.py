"""From findings to remedies: what may cure each, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence

from floatline.precision.plan import Plan
from floatline.records import Finding, Trace
from floatline.remedies.layers import followed_by, forward_order, layers_of
from floatline.repairs import Remedy

SCALE_RULES = ("FL110", "FL201", "FL202", "FL401", "FL402", "FL403")
"""Rules of the loss scale and of the backward pass, which a scale below 1 may serve."""

STORAGE_RULES = ("FL304", "FL502")
"""Rules of weights that are kept in 16 bits."""

RANGE_FAMILIES = ("FL1", "FL2")
"""Rule families that more exponent bits cure."""

LEAST_SCALE = 2.0**-24
"""The floor of a scale that may fall below 1: the smallest number of float16."""

_FLOAT32_COST = "This layer computes at float32 speed and keeps float32 activations."
_NO_COST = "None that is measurable."


def propose(findings: Sequence[Finding], traces: Sequence[Trace]) -> tuple[tuple[Remedy, ...], ...]:
    """Sets of remedies in the order in which they deserve a trial.

    Args:
        findings: Failures, most likely root cause first.
        traces: The traced steps: what reads what.

    Returns:
        Each set is to be tried as a whole; later ones are larger and cost more.
    """
    failures = [finding for finding in findings if finding.severity == "failure"]
    if not failures:
        return ()
    sets = [*_for_storage(failures), *_for_scale(failures), *_for_layers(failures, traces)]
    if any(finding.rule.startswith(RANGE_FAMILIES) for finding in failures):
        sets.append((everywhere("mixed_bfloat16"),))
    sets += _larger_spans(failures, traces)
    sets.append((everywhere("float32"),))
    return tuple({tuple(remedy.summary for remedy in group): group for group in sets}.values())


def float32_layer(layer: str, rule: str | None = None) -> Remedy:
    """One layer, and what is inside it, in float32.

    Example:

    >>> float32_layer("head").summary
    "Keep layer 'head' in float32."
    """
    reason = f"Its numbers leave the range or the precision of 16 bits ({rule})."
    return Remedy(
        "float32-layer",
        f"Keep layer {layer!r} in float32.",
        _FLOAT32_COST,
        Plan().with_rule("float32", path=layer, reason=reason if rule else "Reads such numbers."),
        rule,
    )


def everywhere(policy: str) -> Remedy:
    """The whole model under one policy."""
    cost = {
        "mixed_bfloat16": "Same speed and memory on hardware with bfloat16; 8 significant bits.",
        "mixed_float16": "Weights take float32 memory once more beside their float16 copies.",
        "float32": "All of the speed and memory that mixed precision gains.",
    }[policy]
    return Remedy(
        f"all-{policy.replace('_', '-')}",
        f"Use {policy} in the whole model.",
        cost,
        Plan.of(policy, "The fault is not confined to a few layers."),
    )


def calibrated_scale(rule: str) -> Remedy:
    """A loss scale that is computed from the gradients instead of being searched for."""
    return Remedy(
        "calibrated-loss-scale",
        "Compute the loss scale from the gradients.",
        _NO_COST,
        Plan().with_loss_scale("calibrated", reason="The search for a loss scale costs steps."),
        rule,
    )


def low_scale(rule: str) -> Remedy:
    """The same, and it may fall below 1."""
    return Remedy(
        "loss-scale-below-1",
        "Let the loss scale fall below 1.",
        "Small gradients lose digits while it is below 1.",
        Plan().with_loss_scale(
            "calibrated", reason="The gradients overflow at a scale of 1.", floor=LEAST_SCALE
        ),
        rule,
    )


def _for_storage(failures: Sequence[Finding]) -> list[tuple[Remedy, ...]]:
    kept_low = any(finding.rule in STORAGE_RULES for finding in failures)
    return [(everywhere("mixed_float16"),)] if kept_low else []


def _for_scale(failures: Sequence[Finding]) -> list[tuple[Remedy, ...]]:
    """A scale that is wrong because of another fault is cured with that fault."""
    root = failures[0].rule
    return [(calibrated_scale(root),), (low_scale(root),)] if root in SCALE_RULES else []


def _for_layers(failures: Sequence[Finding], traces: Sequence[Trace]) -> list[tuple[Remedy, ...]]:
    rules = {f.place.layer: f.rule for f in reversed(failures) if f.place and f.place.layer}
    layers = layers_of(failures)
    sets: list[tuple[Remedy, ...]] = [(float32_layer(layer, rules[layer]),) for layer in layers]
    for layer in layers[:1]:
        # What leaves the layer must fit where it arrives, too.
        readers = followed_by([layer], traces)
        sets.append((float32_layer(layer, rules[layer]), *map(float32_layer, readers)))
    if len(layers) > 1:
        sets.append(tuple(float32_layer(layer, rules[layer]) for layer in layers))
    return sets


def _larger_spans(failures: Sequence[Finding], traces: Sequence[Trace]) -> list[tuple[Remedy, ...]]:
    """From the first layer at fault to the loss: what no single layer explains."""
    order, layers = forward_order(traces), layers_of(failures)
    starts = [order.index(layer) for layer in layers if layer in order]
    if not starts:
        return []
    return [tuple(float32_layer(layer) for layer in order[min(starts) :])]
