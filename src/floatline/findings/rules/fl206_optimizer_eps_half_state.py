"""FL206: optimizer-eps-half-state."""

from __future__ import annotations

from typing import ClassVar, final

from floatline.findings.advice import OfKeras
from floatline.findings.flushed import flushed_ancestor
from floatline.findings.origin_rule import OriginRule, overflow
from floatline.findings.origins import Origin
from floatline.findings.words import number, where
from floatline.records import Phase


@final
class OptimizerEpsHalfState(OriginRule):
    """An optimizer whose moments are kept in half precision divides by 0.

    What it means:
        Where weights are kept in float16, the optimizer keeps its moments and adds its epsilon in
        float16, too. 1e-8, the usual one, is 0 there, and the second moment of gradients below
        2.4e-4 is 0 as well: 0 / 0.

    Evidence:
        An operation of the update that is computed in half precision is non-finite although the
        gradients are finite, and what it leaves in the weights is.
        Without a run, `floatline inspect` tells an epsilon that is 0 in the dtype of the weights.

    Why it matters:
        The weights are NaN after one step, or after the first row without a gradient.

    Remedy:
        Weights and moments in float32 (a mixed policy, or autocast, keeps them so); else an epsilon
        that the format holds, 1e-4 or more in float16.

    When it is harmless:
        When no moment vanishes; then nothing breaks and nothing is reported.

    References:
        - Kingma and Ba, Adam, 2014, arXiv:1412.6980, algorithm 1: what the epsilon is for.
        - pytorch/pytorch#26218, google-deepmind/optax#1769: Adam on float16 weights.
    """

    id = "FL206"
    cause = "optimizer-eps-half-state"
    phase: ClassVar[Phase] = "update"
    remedies = (
        OfKeras(
            "Keep weights in float32: a mixed policy, or autocast, computes in half precision.",
            instead="Keep the weights in float32, and compute with copies in half precision.",
            torch="Keep the weights in float32, and let torch.autocast compute in half precision.",
        ),
        "Give the optimizer an epsilon that the format holds: 1e-4 or more in float16.",
    )

    def sentence(self, origin: Origin) -> str:
        """What happens at the origin."""
        statistics = origin.site.statistics
        if statistics.local_saturated:
            return overflow(origin)
        epsilon = flushed_ancestor(origin)
        cause = (
            "a moment that vanished in half precision"
            if epsilon is None
            else f"the epsilon {number(epsilon)}, which is 0 in half precision"
        )
        return (
            f"{where(origin.spot.place)} breaks on {cause}: {statistics.nonfinite} of"
            f" {statistics.count} elements are not finite"
        )
