"""Loss scaling that is missing where layers compute in float16."""

from __future__ import annotations

from collections.abc import Iterator

from floatline.findings.configured.note import ConfigurationNote, of
from floatline.findings.configured.setup import Setup
from floatline.findings.rules.fl201_missing_loss_scaling import MissingLossScaling
from floatline.findings.words import number
from floatline.formats import FORMATS

_HALF = FORMATS["float16"]


def loss_scaling(setup: Setup) -> Iterator[ConfigurationNote]:
    """Says so when an optimizer without loss scaling trains layers in float16."""
    layers = [x for x in setup.low_layers if x.compute_dtype == "float16" and x.weights]
    optimizer = setup.optimizer
    if optimizer is None or optimizer.loss_scaling or not layers:
        return
    smallest = number(_HALF.min_subnormal / 2)
    unless = ", unless your loop scales its loss by itself" if optimizer.by_hand else ""
    first = layers[0]
    yield of(
        MissingLossScaling,
        "risk",
        setting=f"{len(layers)} layers with weights compute in float16, and {optimizer.name} has "
        f"no loss scaling{_why(setup)}",
        reason=f"gradients below {smallest} are 0 in float16{unless}",
        change="in the loop, differentiate optimizer.scale_loss(loss) of a "
        "floatline.LossScaleOptimizer, and call its apply"
        if optimizer.by_hand
        else f"compile with floatline.LossScaleOptimizer({optimizer.name}(...)), or Keras' own",
        layer=first.path,
        source=first.source,
        float16_layers=len(layers),
    )


def _why(setup: Setup) -> str:
    """Why Keras, which attaches loss scaling by itself, has not done so."""
    optimizer, policy = setup.optimizer, setup.model_policy
    if optimizer is None or optimizer.by_hand:
        return ""
    if policy == "mixed_float16":
        return " (auto_scale_loss=False, or the policy was set after compile)"
    return (
        f": Keras adds it only where the model's own policy is mixed_float16, and this is {policy}"
    )
