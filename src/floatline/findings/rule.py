"""What a rule is: one root cause, one page, one pure check with three possible answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from floatline.findings.case import Case
from floatline.records import Finding, Number, Phase, Place, Severity


@dataclass(frozen=True, slots=True)
class Found:
    """The root cause is there: one finding per place that must be repaired by itself."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Clear:
    """The root cause is not there, or does no harm."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Something points to the root cause, and a measurement is missing to decide.

    Attributes:
        missing: What would have to be measured, in words.
    """

    missing: str


Result = Found | Clear | CannotTell

REFERENCE = "a float32 reference of at least 10 steps to compare the loss with"
TRACES = "a traced step"


class Rule(ABC):
    """One root cause. The docstring of a rule is its page: see `floatline.findings.page`.

    Attributes:
        id: `"FLnnn"`.
        cause: Name of the fault in kebab-case.
        phase: The phase in which the fault arises unless its place says otherwise.
        remedies: What to change, in words, best first.
    """

    id: ClassVar[str]
    cause: ClassVar[str]
    phase: ClassVar[Phase]
    remedies: ClassVar[tuple[str, ...]]

    @abstractmethod
    def check(self, case: Case) -> Result:
        """Says whether the root cause is there; reads nothing but the case."""

    def asks_float32(self, case: Case) -> bool:
        """Whether float32 must be trained beside before this rule can conclude.

        That of a training that looks broken is asked for anyway, and that of silent faults.
        """
        del case
        return False

    def found(
        self,
        summary: str,
        evidence: Mapping[str, Number],
        *,
        place: Place | None = None,
        severity: Severity = "failure",
        propagation: int = 0,
        remedies: tuple[str, ...] = (),
    ) -> Found:
        """One finding of this rule, with its remedies unless others fit this case."""
        return Found(
            (
                Finding(
                    rule=self.id,
                    cause=self.cause,
                    phase=place.phase if place else self.phase,
                    summary=summary[:1].upper() + summary[1:],
                    evidence=evidence,
                    remedies=remedies or self.remedies,
                    place=place,
                    severity=severity,
                    propagation=propagation,
                ),
            )
        )
