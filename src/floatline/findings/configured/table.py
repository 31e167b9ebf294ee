"""Every check of a configuration: the explicit list, and the notes in the order of their grade."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from floatline.findings.configured.constants import constants
from floatline.findings.configured.half_weights import half_weights
from floatline.findings.configured.ids import ids
from floatline.findings.configured.note import GRADES, ConfigurationNote
from floatline.findings.configured.output import outputs
from floatline.findings.configured.scaling import loss_scaling
from floatline.findings.configured.setup import Setup
from floatline.findings.configured.speed import islands, odd_sides, policy_too_late, work_in_float32

CHECKS: tuple[Callable[[Setup], Iterator[ConfigurationNote]], ...] = (
    constants,
    ids,
    loss_scaling,
    outputs,
    half_weights,
    policy_too_late,
    odd_sides,
    work_in_float32,
    islands,
)


def configuration_notes(setup: Setup) -> tuple[ConfigurationNote, ...]:
    """What can be told before any step has run: what is wrong first, advice last.

    Example:

    >>> from floatline.findings.configured.setup import LayerSetup, NumberUse
    >>> norm = LayerSetup("norm", "Norm", "float16", numbers=(NumberUse("1e-8", 1e-8, "added"),))
    >>> (note,) = configuration_notes(Setup("jax", "mixed_float16", (norm,)))
    >>> note.rule, note.cause, note.grade, note.setting
    ('FL203', 'epsilon-underflow', 'wrong', '1e-8 in float16')
    """
    found = dict.fromkeys(note for check in CHECKS for note in check(setup))
    return tuple(sorted(found, key=lambda note: GRADES.index(note.grade)))
