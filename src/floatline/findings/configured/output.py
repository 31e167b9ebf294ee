"""Probabilities and losses that are computed in half precision."""

from __future__ import annotations

from collections.abc import Iterator

from floatline.findings.configured.note import ConfigurationNote, of
from floatline.findings.configured.setup import OutputSetup, Setup
from floatline.findings.rules.fl205_softmax_or_loss_in_half import SoftmaxOrLossInHalf
from floatline.findings.words import number
from floatline.formats import FORMATS, LOW_FORMATS, Format

_PROBABILITIES = ("softmax", "sigmoid")


def outputs(setup: Setup) -> Iterator[ConfigurationNote]:
    """Softmax and sigmoid outputs in half precision before a logarithm, and losses in it."""
    for output in setup.outputs:
        if output.dtype in LOW_FORMATS:
            yield from _probabilities(setup, output, FORMATS[output.dtype])
        if output.loss_dtype in LOW_FORMATS:
            yield _loss(output, FORMATS[str(output.loss_dtype)])


def _probabilities(setup: Setup, output: OutputSetup, ends: Format) -> Iterator[ConfigurationNote]:
    if output.activation not in _PROBABILITIES or not output.takes_logarithm:
        return
    lost = (
        f"a probability above {number(1 - ends.epsilon / 4)} is 1 there"
        if output.activation == "sigmoid"
        else f"probabilities have {ends.precision_bits} bits there"
    )
    if ends.name == "float16":
        steepest = number(1 / ends.max_finite)
        lost += f", and below {steepest} the gradient of the logarithm is infinite"
    fused = (
        "; in float32 Keras finds the logits behind it on TensorFlow, after a cast it does not"
        if setup.backend == "tensorflow"
        else ""
    )
    yield of(
        SoftmaxOrLossInHalf,
        "risk",
        setting=f"the output is a {output.activation} in {ends.name}, and {output.loss} takes its "
        "logarithm",
        reason=f"{lost}{fused}",
        change='build the output layer with dtype="float32", or return logits and use '
        "from_logits=True",
        layer=output.layer,
        source=output.source,
    )


def _loss(output: OutputSetup, ends: Format) -> ConfigurationNote:
    return of(
        SoftmaxOrLossInHalf,
        "risk",
        setting=f"the loss {output.loss} is computed in {ends.name}",
        reason="Keras computes losses in float32 unless they are given another dtype: sums and "
        f"squares above {number(ends.max_finite)} and logarithms of what vanishes are infinite",
        change="give the loss no dtype, and leave floatx at float32",
        layer=output.layer,
        source=output.source,
    )
