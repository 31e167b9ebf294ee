"""From findings to remedies: what may cure each, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence

from floatline.records import Configuration, Finding, Trace
from floatline.remedies.dtypes import everywhere, float32_inputs, float32_layer, float32_output
from floatline.remedies.epsilons import larger_epsilons
from floatline.remedies.layers import (
    casting_inputs,
    feeding_the_loss,
    followed_by,
    forward_order,
    layers_of,
    sharing_line,
)
from floatline.remedies.scales import calibrated_scale, low_scale, no_scale
from floatline.remedies.settings import clipped_gradients, learning_rate, optimizer_epsilon
from floatline.repairs import Remedy

SCALE_RULES = ("FL110", "FL111", "FL112", "FL201", "FL202", "FL401", "FL402", "FL403")
"""Rules of the loss scale and of the backward pass, which a scale below 1 may serve."""

MISUSE_RULES = ("FL404",)
"""Rules of steps that handle their loss scale wrongly."""

STORAGE_RULES = ("FL206", "FL304", "FL502")
"""Rules of weights that are kept in 16 bits."""

WITH_EPSILON = ("Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Lamb")
"""Optimizers that divide by a moment and an epsilon."""

RANGE_FAMILIES = ("FL1", "FL2")
"""Rule families that more exponent bits cure."""

INPUT_RULES = ("FL105", "FL301", "FL303")
"""Rules of numbers that may have been rounded on their way into the model."""

GROWTH_RULES = ("FL602", "FL604")
"""Rules of a loss that grows in float32 as well, until it diverges or is not finite."""

RATE_FACTORS = (0.1, 0.01)
"""Learning rates that are tried, as parts of the present one."""

Sets = tuple[tuple[Remedy, ...], ...]
"""Sets of remedies in the order in which they deserve a trial; later ones cost more."""


def propose(
    findings: Sequence[Finding], traces: Sequence[Trace], configuration: Configuration
) -> Sets:
    """Remedies for faults of the precision.

    Args:
        findings: Failures, most likely root cause first.
        traces: The traced steps: what reads what.
        configuration: The training, for its optimizer and the epsilons of its layers.

    Returns:
        Each set is to be tried as a whole; later ones are larger and cost more.
    """
    failures = [finding for finding in findings if finding.severity == "failure"]
    if not failures:
        return ()
    sets = [*_for_storage(failures, configuration.optimizer), *_for_scale(failures)]
    sets += larger_epsilons(failures, configuration.layers)
    sets += _for_inputs(failures, traces, configuration)
    sets += [*_for_layers(failures, traces), *_for_losses(failures, traces)]
    if any(finding.rule.startswith(RANGE_FAMILIES) for finding in failures):
        sets.append((everywhere("mixed_bfloat16"),))
    sets += _larger_spans(failures, traces)
    sets.append((everywhere("float32"),))
    return _each_once(sets)


def propose_for_growth(findings: Sequence[Finding], configuration: Configuration) -> Sets:
    """Remedies for a loss that grows in float32 too: smaller steps.

    Args:
        findings: Failures, most likely root cause first.
        configuration: The training, for its learning rate.
    """
    root = next((finding.rule for finding in findings if finding.severity == "failure"), "")
    if root not in GROWTH_RULES:
        return ()
    rate = configuration.learning_rate
    slower = [learning_rate(factor * rate, root) for factor in RATE_FACTORS] if rate else []
    clipped = clipped_gradients(root)
    sets = [(remedy,) for remedy in (*slower[:1], clipped, *slower[1:])]
    return _each_once([*sets, *((remedy, clipped) for remedy in slower)])


def _each_once(sets: Sequence[tuple[Remedy, ...]]) -> Sets:
    return tuple({tuple(remedy.summary for remedy in group): group for group in sets}.values())


def _for_storage(failures: Sequence[Finding], optimizer: str | None) -> list[tuple[Remedy, ...]]:
    """Weights in 16 bits, whose optimizer keeps its moments, and adds its epsilon, in 16 bits."""
    rule = next((f.rule for f in failures if f.rule in STORAGE_RULES), None)
    if rule is None:
        return []
    epsilon = [(optimizer_epsilon(rule),)] if optimizer in WITH_EPSILON else []
    return [*epsilon, (everywhere("mixed_float16"),)]


def _for_scale(failures: Sequence[Finding]) -> list[tuple[Remedy, ...]]:
    """A scale that is wrong because of another fault is cured with that fault."""
    root = failures[0].rule
    if root in MISUSE_RULES:
        return [(no_scale(root),)]
    return [(calibrated_scale(root),), (low_scale(root),)] if root in SCALE_RULES else []


def _for_inputs(
    failures: Sequence[Finding], traces: Sequence[Trace], configuration: Configuration
) -> list[tuple[Remedy, ...]]:
    """A subclassed model casts its inputs before any layer sees them."""
    rounded = [finding for finding in failures if finding.rule in INPUT_RULES]
    layers = {record.path for record in configuration.layers}
    models = [name for name in casting_inputs(traces) if name not in layers]
    if not rounded or not models:
        return []
    rule = rounded[0].rule
    named = [layer for layer in layers_of(rounded) if layer not in models]
    inputs = tuple(float32_inputs(model, rule) for model in models)
    return [inputs, (*inputs, *(float32_layer(layer, rule) for layer in named))]


def _for_layers(failures: Sequence[Finding], traces: Sequence[Trace]) -> list[tuple[Remedy, ...]]:
    rules = {f.place.layer: f.rule for f in reversed(failures) if f.place and f.place.layer}
    layers = layers_of(failures)
    sets: list[tuple[Remedy, ...]] = [(float32_layer(layer, rules[layer]),) for layer in layers]
    for finding in failures[:1]:
        alike = sharing_line(finding, traces)
        sets.append(tuple(float32_layer(layer, rules.get(layer)) for layer in alike))
    for layer in layers[:1]:
        # What leaves the layer must fit where it arrives, too.
        readers = followed_by([layer], traces)
        sets.append((float32_layer(layer, rules[layer]), *map(float32_layer, readers)))
    if len(layers) > 1:
        sets.append(tuple(float32_layer(layer, rules[layer]) for layer in layers))
    return [group for group in sets if group]


def _for_losses(failures: Sequence[Finding], traces: Sequence[Trace]) -> list[tuple[Remedy, ...]]:
    """A loss, which is no layer, computes in the dtype of the outputs that it reads."""
    rule = next((f.rule for f in failures if f.place is not None and not f.place.layer), None)
    outputs = feeding_the_loss(traces) if rule else ()
    return [tuple(float32_output(layer, rule) for layer in outputs)] if rule and outputs else []


def _larger_spans(failures: Sequence[Finding], traces: Sequence[Trace]) -> list[tuple[Remedy, ...]]:
    """From the first layer at fault to the loss: what no single layer explains."""
    order, layers = forward_order(traces), layers_of(failures)
    starts = [order.index(layer) for layer in layers if layer in order]
    if not starts:
        return []
    return [tuple(float32_layer(layer) for layer in order[min(starts) :])]
