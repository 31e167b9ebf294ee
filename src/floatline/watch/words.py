"""What a watch says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from floatline.backends.watch_interface import Company
from floatline.records import Diagnosis
from floatline.watch.records import Drift, Mode, Symptom


def failure(found: Symptom, kept: Sequence[Path], company: Company, asked: Mode) -> str:
    """That training has failed, what is kept of it, and what is not done because of others.

    >>> failure(Symptom("non-finite", 8, "The loss is nan."), (), Company(), "stop")
    'Training has failed (non-finite), seen at step 8. The loss is nan.'
    """
    told = [f"Training has failed ({found.kind}), seen at step {found.step}.", found.message]
    if kept:
        told.append(f"Kept in {kept[-1]}.")
    if company.hindrance:
        told.append(f"The step that fails is not looked for: {company.hindrance}.")
    if company.others and asked == "stop":
        told.append("The training goes on, for the other processes would wait for this one.")
    return " ".join(told)


def drift(found: Drift) -> str:
    """What grows, how fast, and how many steps that leaves."""
    return (
        f"{found.quantity[0].upper()}{found.quantity[1:]} doubles every "
        f"{1 / found.per_step:.0f} steps. It is {found.value:.3g} and reaches "
        f"{found.limit:.3g} in about {found.steps_left} steps."
    )


def verdict(diagnosis: Diagnosis, path: Path) -> str:
    """The diagnosis of a kept failure, and where the whole of it is."""
    failures = [finding for finding in diagnosis.findings if finding.severity == "failure"]
    first = f" {failures[0].rule} {failures[0].cause}: {failures[0].summary}." if failures else ""
    return f"{diagnosis.explanation}{first} The whole diagnosis: floatline diagnose --from {path}"
