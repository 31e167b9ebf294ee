"""The gradients that an optimizer is handed: some missing, some that are no gradients at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras import ops

from floatline.backends.scaling_interface import Gradient, ScalingKernels
from floatline.scaling.state import Tensor


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients beside what is known of their variables.

    Attributes:
        given: One entry per variable; None where there is no gradient.
        present: The entries that are not None.
        scaled: For each of `present`, whether the loss scale is in it. It is not where Keras
            overwrites the variable with the "gradient" (float8 scales).
        indices: For each of `present`, the index of its variable in the optimizer.
    """

    given: tuple[Gradient | None, ...]
    present: tuple[Gradient, ...]
    scaled: tuple[bool, ...]
    indices: tuple[int, ...]

    @classmethod
    def of(
        cls,
        given: Sequence[Gradient | None],
        variables: Sequence[Any],
        indices: Sequence[int],
    ) -> Gradients:
        """Puts gradients beside their variables, whose places in the optimizer are `indices`."""
        rows = [row for row in zip(given, variables, indices, strict=True) if row[0] is not None]
        return cls(
            tuple(given),
            tuple([gradient for gradient, _, _ in rows]),
            tuple([not getattr(v, "overwrite_with_gradient", False) for _, v, _ in rows]),
            tuple([index for _, _, index in rows]),
        )

    @classmethod
    def plain(cls, given: Sequence[Gradient | None]) -> Gradients:
        """Gradients of which nothing else is known: each has the scale in it and counts."""
        present = [(index, g) for index, g in enumerate(given) if g is not None]
        return cls(
            tuple(given),
            tuple(gradient for _, gradient in present),
            (True,) * len(present),
            tuple(index for index, _ in present),
        )

    def unscaled(self, kernels: ScalingKernels, scale: Tensor) -> list[Gradient | None]:
        """New gradients in the order of `given`; what the scale is not in stays as it is."""
        divided = iter(
            kernels.unscale([g for g, s in zip(self.present, self.scaled, strict=True) if s], scale)
            if any(self.scaled)
            else ()
        )
        flags = iter(self.scaled)
        return [None if g is None else next(divided) if next(flags) else g for g in self.given]


def first_nonfinite(magnitudes: Tensor, indices: tuple[int, ...]) -> Tensor:
    """Index in the optimizer of the first variable with a non-finite gradient.

    Args:
        magnitudes: Largest magnitude of each gradient.
        indices: For each gradient, the index of its variable.
    """
    bad = ops.logical_not(ops.isfinite(magnitudes))
    first = ops.argmax(ops.cast(bad, "int"))
    if indices == tuple(range(len(indices))):
        return first
    return ops.take(ops.convert_to_tensor(indices, "int"), first)
