"""What is told of a configuration: one fault, one risk or one piece of advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from floatline.findings.rule import Rule
from floatline.records import Number, SourceLine

Grade = Literal["wrong", "risk", "advice"]
"""Wrong cannot work as it is set up. A risk fails or not as the numbers fall: only a run tells.
Advice harms no number."""

GRADES: tuple[Grade, ...] = ("wrong", "risk", "advice")


@dataclass(frozen=True, slots=True)
class ConfigurationNote:
    """A root cause that was found without a run.

    Attributes:
        rule: Id of the rule whose cause it is: `floatline explain FL203` tells more.
        cause: Name of that root cause.
        grade: `"wrong"`, `"risk"` or `"advice"`.
        setting: What is set, with its value.
        reason: Why that cannot work, or when it will not.
        change: What to do.
        layer: Path of the layer; None for the optimizer, a loss or the whole model.
        source: The user's line, where it is known.
        numbers: The decisive numbers by name.
    """

    rule: str
    cause: str
    grade: Grade
    setting: str
    reason: str
    change: str
    layer: str | None = None
    source: SourceLine | None = None
    numbers: Mapping[str, Number] | None = field(default=None, hash=False)

    @property
    def place(self) -> str:
        """Layer and line in words."""
        layer = f"layer '{self.layer}'" if self.layer else ""
        line = f"{PurePath(self.source.file).name}:{self.source.line}" if self.source else ""
        return f"{layer} ({line})" if layer and line else layer or line

    @property
    def told_by_a_run(self) -> bool:
        """Whether `floatline diagnose` decides what the configuration leaves open."""
        return self.grade == "risk"


def of(
    rule: type[Rule],
    grade: Grade,
    *,
    setting: str,
    reason: str,
    change: str,
    layer: str | None = None,
    source: SourceLine | None = None,
    **numbers: Number,
) -> ConfigurationNote:
    """A note under the id and the cause that the rule of a traced step has.

    Args:
        rule: The rule's class.
        grade: How sure it is.
        setting: What is set.
        reason: Why that cannot work, or when it will not.
        change: What to do.
        layer: Path of the layer, if there is one.
        source: The user's line, if it is known.
        **numbers: The decisive numbers.
    """
    return ConfigurationNote(
        rule.id, rule.cause, grade, setting, reason, change, layer, source, numbers or None
    )
