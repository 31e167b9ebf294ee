"""What to do, in the words of Keras, and in those of a framework where Keras takes no part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from floatline.findings.case import Case
from floatline.records import Finding

_IN_FLOAT32: Mapping[str, str] = {
    "torch": "cast its inputs with .float(), within torch.autocast(device, enabled=False)",
    "jax": "cast its inputs with .astype(jnp.float32)",
    "tensorflow": "cast its inputs with tf.cast(..., tf.float32)",
}
"""How something is computed in float32, by the name of the framework."""


class OfKeras(str):
    """Advice that needs a layer, a policy or an optimizer of Keras'.

    Args:
        text: The advice.
        instead: What takes its place without Keras, `{float32}` being how the framework computes
            something in float32; nothing where other advice says the same.
        torch: The same for PyTorch, where its words differ.
        of_layer: Whether it speaks of the layer in which something was found: what stands outside
            of every layer, in a loss or a step, needs the other words with Keras as well.

    Example:

    >>> advice = OfKeras('Give the layer dtype="float32".', instead="In float32: {float32}.")
    >>> advice.without_keras("jax")
    'In float32: cast its inputs with .astype(jnp.float32).'
    """

    instead: str
    torch: str
    of_layer: bool

    def __new__(
        cls, text: str, *, instead: str = "", torch: str = "", of_layer: bool = False
    ) -> OfKeras:
        """The advice, a string, which knows its other words."""
        made = super().__new__(cls, text)
        made.instead = instead
        made.torch = torch
        made.of_layer = of_layer
        return made

    def without_keras(self, backend: str | None) -> str:
        """The advice in the words of a framework; empty where nothing takes its place."""
        words = self.torch if backend == "torch" and self.torch else self.instead
        return words.format(float32=_IN_FLOAT32.get(backend or "", "cast its inputs to float32"))


def in_own_words(case: Case, finding: Finding) -> Finding:
    """A finding whose advice can be followed: where nothing of Keras' takes part, or no layer does.

    Args:
        case: The case.
        finding: What was found in it.
    """
    keras = _knows_keras(case)
    outside = finding.place is not None and finding.place.layer is None

    def own_words(remedy: str) -> str:
        if not isinstance(remedy, OfKeras) or (keras and not (outside and remedy.of_layer)):
            return remedy
        return remedy.without_keras(case.backend)

    said = map(own_words, finding.remedies)
    return replace(finding, remedies=tuple(dict.fromkeys(filter(None, said))))


def _knows_keras(case: Case) -> bool:
    """Whether anything of Keras' takes part: layers that are called as functions do, too.

    On PyTorch a step function may have modules and an optimizer of PyTorch's own.
    """
    known = case.evidence.configuration
    if known.entry != "step function" or known.layers:
        return True
    classes = (site.place.layer_class for t in case.evidence.traces for site in t.sites)
    return case.backend != "torch" and (known.optimizer is not None or any(classes))
