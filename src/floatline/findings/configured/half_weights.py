"""Weights that are kept in half precision, and optimizers that compute in it."""

from __future__ import annotations

from collections.abc import Iterator

from floatline.findings.configured.note import ConfigurationNote, of
from floatline.findings.configured.rounding import half_unit
from floatline.findings.configured.setup import LayerSetup, Setup
from floatline.findings.rules.fl206_optimizer_eps_half_state import OptimizerEpsHalfState
from floatline.findings.rules.fl304_lost_small_update import LostSmallUpdate
from floatline.findings.rules.fl305_one_minus_eps_rounding import OneMinusEpsRounding
from floatline.findings.rules.fl502_pure_float16_policy import PureFloat16Policy
from floatline.findings.words import number
from floatline.formats import FORMATS, LOW_FORMATS, Format

_MIXED = "keep weights in float32: the policies mixed_float16 and mixed_bfloat16 do"


def half_weights(setup: Setup) -> Iterator[ConfigurationNote]:
    """Everything that follows from trained weights in half precision."""
    kept = [layer for layer in setup.layers if layer.weight_dtype in LOW_FORMATS]
    if not kept or setup.optimizer is None:
        return
    for dtype in dict.fromkeys(str(layer.weight_dtype) for layer in kept):
        yield from _epsilons(setup, FORMATS[dtype])
        yield from _beta_2(setup, FORMATS[dtype])
    yield from _pure(kept)
    yield from _still(setup, kept)


def _epsilons(setup: Setup, ends: Format) -> Iterator[ConfigurationNote]:
    optimizer = setup.optimizer
    for name, value in () if optimizer is None else optimizer.epsilons:
        if value == 0 or ends.rounded(value) != 0:
            continue
        yield of(
            OptimizerEpsHalfState,
            "wrong",
            setting=f"{optimizer.name if optimizer else ''}({name}={number(value)}) over weights "
            f"in {ends.name}",
            reason=f"it is 0 in {ends.name}: a weight whose second moment vanishes becomes 0 / 0",
            change=f"{_MIXED}; or {name}=1e-4",
            epsilon=value,
        )


def _beta_2(setup: Setup, ends: Format) -> Iterator[ConfigurationNote]:
    optimizer = setup.optimizer
    beta = None if optimizer is None else optimizer.beta_2
    if optimizer is None or beta is None or beta >= 1 or ends.rounded(beta) != 1:
        return
    yield of(
        OneMinusEpsRounding,
        "wrong",
        setting=f"{optimizer.name}(beta_2={beta:g}) over weights in {ends.name}",
        reason=f"beta_2 is 1 in {ends.name}, and 1 - beta_2, by which updates are scaled, is 0",
        change=f"{_MIXED}; or a beta_2 of {0.99 if ends.rounded(0.99) < 1 else 0.9:g}",
        beta_2=beta,
    )


def _pure(kept: list[LayerSetup]) -> Iterator[ConfigurationNote]:
    first = kept[0]
    yield of(
        PureFloat16Policy,
        "risk",
        setting=f"{len(kept)} layers keep their weights in {first.weight_dtype}",
        reason="updates below half of a weight's last digit are lost, and nothing scales the loss",
        change=_MIXED,
        layer=first.path,
        source=first.source,
        layers=len(kept),
    )


def _still(setup: Setup, kept: list[LayerSetup]) -> Iterator[ConfigurationNote]:
    """Weights too large for the learning rate, of optimizers whose updates are about as large."""
    optimizer = setup.optimizer
    rate = optimizer.learning_rate if optimizer and optimizer.normalises else None
    if rate is None or rate <= 0:
        return
    stuck = [layer for layer in kept if layer.weights and _moves_nothing(layer, rate)]
    if not stuck:
        return
    worst = max(stuck, key=lambda layer: layer.weights)
    size, dtype = worst.typical_weight or 0.0, str(worst.weight_dtype)
    yield of(
        LostSmallUpdate,
        "risk",
        setting=f"a learning rate of {number(rate)} for weights in {dtype} of about {number(size)}",
        reason=f"half of them cannot move: {dtype} has no value between them and the next "
        f"{number(2 * half_unit(size, FORMATS[dtype]))} away, and one update is about the rate",
        change=f"{_MIXED}; or a larger learning rate",
        layer=worst.path,
        source=worst.source,
        learning_rate=rate,
        typical_weight=size,
        layers=len(stuck),
    )


def _moves_nothing(layer: LayerSetup, rate: float) -> bool:
    size = layer.typical_weight
    return size is not None and rate < half_unit(size, FORMATS[str(layer.weight_dtype)])
