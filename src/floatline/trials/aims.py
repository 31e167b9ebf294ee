"""What a trial must reach to count as fixed: float32's level, or, where float32 fails, learning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

from floatline.precision.plan import Plan
from floatline.records import Configuration, Reference, StepRecord
from floatline.repairs import TrialVerdict
from floatline.trials.bench import Bench, Run
from floatline.trials.verdict import learns, verdict

EVERYWHERE = Plan.of("float32", "Tells whether the precision is a fault.")
"""Every layer in float32."""

Steps = tuple[StepRecord, ...]
Judged = tuple[TrialVerdict, str]


class Aim(Protocol):
    """Judges a training by itself, and a longer one beside the same in float32."""

    @property
    def reference(self) -> Steps:
        """The float32 training that trials are compared with; empty where there is none."""
        ...

    def judge(self, steps: Steps) -> Judged:
        """Whether a trial of the usual length is fixed, and why."""
        ...

    def companion(self, bench: Bench, plan: Plan, steps: int, seconds: float) -> Run:
        """The float32 training that belongs to a longer trial."""
        ...

    def judge_longer(self, steps: Steps, plain: Steps) -> Judged:
        """Whether a longer trial still holds beside its companion."""
        ...


@dataclass(frozen=True, slots=True)
class AsGoodAsFloat32:
    """Float32 trains: the loss must end within float32's band."""

    configuration: Configuration
    float32: Reference

    @property
    def reference(self) -> Steps:
        """The same steps in float32."""
        return self.float32.steps

    def judge(self, steps: Steps) -> Judged:
        """Compares with float32 and its noise."""
        return verdict(self.configuration, steps, self.float32)

    def companion(
        self,
        bench: Bench,
        plan: Plan,  # noqa: ARG002 (for float32 that trains there is nothing to remedy)
        steps: int,
        seconds: float,
    ) -> Run:
        """Float32 as it is, for as many steps."""
        return bench.train_in_float32(steps, seconds)

    def judge_longer(self, steps: Steps, plain: Steps) -> Judged:
        """Compares with the longer float32 training."""
        return verdict(self.configuration, steps, Reference(plain))


@dataclass(frozen=True, slots=True)
class AsGoodAsPlannedFloat32:
    """Float32 trains, but only as a plan: what was rounded before the step is in ruins.

    A table or a statistic that a layer has computed in 16 bits when it was made stays infinite in
    a step whose operations alone are raised; a plan lets the layer compute it again.
    """

    configuration: Configuration
    reference: Steps

    def judge(self, steps: Steps) -> Judged:
        """Compares with float32; its noise is not known."""
        return verdict(self.configuration, steps, Reference(self.reference))

    def companion(
        self,
        bench: Bench,
        plan: Plan,  # noqa: ARG002 (for float32 that trains there is nothing to remedy)
        steps: int,
        seconds: float,
    ) -> Run:
        """Every layer in float32, for as many steps."""
        return bench.train(EVERYWHERE, steps, seconds)

    def judge_longer(self, steps: Steps, plain: Steps) -> Judged:
        """Compares with the longer float32 training."""
        return verdict(self.configuration, steps, Reference(plain))


@dataclass(frozen=True, slots=True)
class Learns:
    """Float32 fails as well: the loss must stay finite and fall.

    In the longer training float32 gets the same remedies, and must not do better.
    """

    configuration: Configuration

    @property
    def reference(self) -> Steps:
        """There is none: without the remedies float32 fails."""
        return ()

    def judge(self, steps: Steps) -> Judged:
        """Looks at the loss alone."""
        return learns(self.configuration, steps)

    def companion(self, bench: Bench, plan: Plan, steps: int, seconds: float) -> Run:
        """Every layer in float32, with the remedies."""
        everywhere = dataclasses.replace(
            EVERYWHERE, optimizer=plan.optimizer, epsilons=plan.epsilons
        )
        return bench.train(everywhere, steps, seconds)

    def judge_longer(self, steps: Steps, plain: Steps) -> Judged:
        """Learns, and as well as float32 with the same remedies where that can be told."""
        alone = learns(self.configuration, steps)
        if alone[0] != "fixed" or not plain:
            return alone
        beside = verdict(self.configuration, steps, Reference(plain))
        return beside if beside[0] == "not fixed" else alone
