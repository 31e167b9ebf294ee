"""What to do in a program that knows nothing of Keras: the same advice in its framework's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from floatline.findings.case import Case
from floatline.records import Finding

_HOW: Mapping[str, str] = {
    "torch": "cast its inputs with .float(), within torch.autocast(device, enabled=False)",
    "jax": "cast its inputs with .astype(jnp.float32)",
    "tensorflow": "cast its inputs with tf.cast(..., tf.float32)",
}
"""How something is computed in float32, by the name of the framework."""

_GENERAL: Mapping[str, str] = {
    'Build this layer, and the addition or normalisation it feeds, with dtype="float32".': (
        "Compute this, and the addition or normalisation it feeds, in float32: {how}."
    ),
    'Use "mixed_bfloat16", which has the range of float32.': (
        "Use bfloat16 instead of float16: it has the range of float32."
    ),
    'Build the layer with dtype="float32".': "Compute the layer in float32: {how}.",
    'Build the layer that receives it (or the output layer, for targets) with dtype="float32".': (
        "Compute the layer that receives it (or the last one, for targets) in float32: {how}."
    ),
    "Give a custom layer autocast=False and cast inside it.": "",
    'Build the normalising layer with dtype="float32", or cast its input to float32 inside it.': (
        "Normalise in float32: {how}."
    ),
    "Use keras.layers.LayerNormalization or GroupNormalization, which compute in float32.": "",
    'Compute this operation in float32: cast its inputs, or give the layer dtype="float32".': (
        "Compute this operation in float32: {how}."
    ),
    'Build the output layer with dtype="float32".': "Compute the last layer in float32: {how}.",
    "Return logits and use from_logits=True in the loss.": (
        "Return logits, and use a loss that takes logits."
    ),
    'Build the layer with dtype="float32"; a custom layer also needs autocast=False.': (
        "Compute the layer in float32: {how}."
    ),
    "Give the layer that receives them autocast=False, or the dtype float32.": (
        "Take them from the batch before it is cast."
    ),
    'Use "mixed_float16" instead of "float16": variables stay in float32.': (
        "Keep weights in float32, and compute with copies in half precision."
    ),
    "Use log_sigmoid, softplus or from_logits=True instead of the logarithm of 1 - p.": (
        "Use log_sigmoid, softplus or a loss that takes logits instead of the logarithm of 1 - p."
    ),
    "Use the usual dynamic_growth_steps=2000, or a fixed loss scale.": (
        "Let the scale grow after 2000 finite steps, as usual, or use a fixed one."
    ),
    "Differentiate the scaled loss: optimizer.scale_loss(loss), or scaler.scale(loss).": (
        "Differentiate the scaled loss: scaler.scale(loss)."
    ),
    (
        "Clip by clipnorm or global_clipnorm of the inner optimizer, which acts after"
        " unscaling; with PyTorch's GradScaler, after scaler.unscale_(optimizer)."
    ): "Clip the gradients after they are divided by the loss scale.",
    'Use the policy "mixed_float16" (or "mixed_bfloat16") instead.': "",
    'Give the layer dtype="float32" before the training moves to a GPU.': (
        "Compute it in float32 before the training moves to a GPU: {how}."
    ),
    "Clip the gradients: clipnorm or global_clipnorm of the optimizer.": (
        "Clip the gradients by their norm."
    ),
}
"""What takes the place of advice that is about Keras; nothing where another says the same."""

_TORCH: Mapping[str, str] = {
    "Use keras.layers.LayerNormalization or GroupNormalization, which compute in float32.": (
        "Use torch.nn.LayerNorm, RMSNorm or GroupNorm, which add up in float32."
    ),
    "Return logits and use from_logits=True in the loss.": (
        "Return logits, and use cross_entropy or binary_cross_entropy_with_logits."
    ),
    'Use "mixed_float16" instead of "float16": variables stay in float32.': (
        "Keep weights in float32, and let torch.autocast compute in half precision."
    ),
    "Use the usual dynamic_growth_steps=2000, or a fixed loss scale.": (
        "Use the usual growth_interval=2000 of GradScaler, or a fixed loss scale."
    ),
    (
        "Clip by clipnorm or global_clipnorm of the inner optimizer, which acts after"
        " unscaling; with PyTorch's GradScaler, after scaler.unscale_(optimizer)."
    ): "Clip after scaler.unscale_(optimizer), which divides the gradients by the loss scale.",
    "Clip the gradients: clipnorm or global_clipnorm of the optimizer.": (
        "Clip the gradients: torch.nn.utils.clip_grad_norm_."
    ),
}
"""The same for PyTorch, where its words differ."""


def in_own_words(case: Case, finding: Finding) -> Finding:
    """A finding whose advice can be followed where there is no layer of Keras'.

    Args:
        case: The case.
        finding: What was found in it.
    """
    how = _HOW.get(case.backend or "")
    configuration = case.evidence.configuration
    if how is None or configuration.entry != "step function" or configuration.layers:
        return finding
    words = {**_GENERAL, **(_TORCH if case.backend == "torch" else {})}
    said = (words[r].format(how=how) if r in words else r for r in finding.remedies)
    return replace(finding, remedies=tuple(dict.fromkeys(filter(None, said))))
