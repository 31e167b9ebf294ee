"""What keeps half precision from saving anything: advice, no number is harmed by it."""

from __future__ import annotations

from collections.abc import Iterator

from floatline.findings.configured.note import ConfigurationNote, of
from floatline.findings.configured.setup import LayerSetup, Setup
from floatline.findings.products import BLOCK, next_size
from floatline.findings.rules.fl501_policy_set_too_late import PolicySetTooLate
from floatline.findings.rules.fl701_no_speedup_small_or_shape import (
    LEAST_SHARE,
    LEAST_SIDE,
    LEAST_WORK,
    NoSpeedupSmallOrShape,
)
from floatline.findings.words import share
from floatline.formats import LOW_FORMATS

MOST = 0.5
"""Share of the work of all products from which it is most of it."""


def policy_too_late(setup: Setup) -> Iterator[ConfigurationNote]:
    """A mixed policy in which nothing computes."""
    if not setup.global_policy.startswith("mixed_") or not setup.layers or setup.low_layers:
        return
    yield of(
        PolicySetTooLate,
        "advice",
        setting=f"the global policy is {setup.global_policy}, and no layer computes in it",
        reason="a layer takes the policy that is set when it is made",
        change="call keras.config.set_dtype_policy before the first layer is made, or apply a "
        "floatline.Plan",
        layers=len(setup.layers),
    )


def odd_sides(setup: Setup) -> Iterator[ConfigurationNote]:
    """Large products in half precision with a side that is no multiple of a block."""
    total = sum(layer.work for layer in setup.layers)
    odd = [
        layer
        for layer in setup.low_layers
        if any(side % BLOCK for side in layer.sides) and min(layer.sides) >= LEAST_SIDE
    ]
    work = sum(layer.work for layer in odd)
    if work < LEAST_WORK or work < LEAST_SHARE * total:
        return
    largest = max(odd, key=lambda layer: layer.work)
    side = next(side for side in largest.sides if side % BLOCK)
    yield of(
        NoSpeedupSmallOrShape,
        "advice",
        setting=f"a matrix of {' x '.join(map(str, largest.sides))} in {largest.compute_dtype}",
        reason=f"{side} is no multiple of {BLOCK}: {share(work / total)} of the work of all "
        "products cannot fill the tensor cores of a GPU",
        change=f"round {side} up to {next_size(side)}",
        layer=largest.path,
        source=largest.source,
        size=side,
        good_size=next_size(side),
        share_of_work=work / total,
    )


def work_in_float32(setup: Setup) -> Iterator[ConfigurationNote]:
    """Most of the products in float32 although other layers compute in less."""
    total = sum(layer.work for layer in setup.layers)
    full = [layer for layer in setup.layers if layer.low is None]
    work = sum(layer.work for layer in full)
    if not setup.low_layers or work < LEAST_WORK or work < MOST * total:
        return
    largest = max(full, key=lambda layer: layer.work)
    yield of(
        NoSpeedupSmallOrShape,
        "advice",
        setting=f"{share(work / total)} of the multiplications of matrix products and "
        "convolutions are in float32",
        reason="half precision can only save what is computed in it",
        change="give these layers the mixed policy, unless they need float32",
        layer=largest.path,
        source=largest.source,
        share_of_work=work / total,
        float32_layers=len([layer for layer in full if layer.work]),
    )


def islands(setup: Setup) -> Iterator[ConfigurationNote]:
    """Float32 layers without products of their own between layers in half precision."""
    found = [layer for layer in setup.layers if _is_island(layer)]
    if not found:
        return
    names = ", ".join(f"'{layer.path}'" for layer in found[:3]) + (", ..." if found[3:] else "")
    yield of(
        NoSpeedupSmallOrShape,
        "advice",
        setting=f"{len(found)} float32 layers stand between layers in half precision: {names}",
        reason="what goes in is cast up and what comes out is cast down in every step, and what "
        "they return is kept in twice the bytes",
        change="let them compute in half precision, unless they are there to keep something "
        "in float32",
        layer=found[0].path,
        source=found[0].source,
        layers=len(found),
    )


def _is_island(layer: LayerSetup) -> bool:
    around = (layer.inputs_from, layer.outputs_to)
    return (
        layer.low is None
        and layer.work == 0
        and all(side and all(dtype in LOW_FORMATS for dtype in side) for side in around)
    )
