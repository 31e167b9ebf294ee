"""The diagnosis for TensorBoard: text, scalars by step, and the float line as images."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from floatline import events
from floatline.findings.outcome import nonfinite
from floatline.records import Diagnosis, Finding
from floatline.report.html.still import pictures
from floatline.report.numbers import exponent
from floatline.report.portable import portable
from floatline.report.repair import what_came
from floatline.report.terminal import headline_text


def write(diagnosis: Diagnosis, folder: Path, base: Path | None = None) -> None:
    """Writes an event file; what the folder holds already stays.

    Args:
        diagnosis: The whole answer.
        folder: TensorBoard's log directory; made when it is missing.
        base: Files below this folder are named relative to it; the working folder if None.

    Raises:
        InputError: tensorboardX is not installed, or the folder cannot be written.
    """
    kept = portable(diagnosis, base)
    with events.writer(folder) as writer:
        for tag, text in _texts(kept):
            writer.add_text(f"floatline/{tag}", text)
        for tag, step, value in _scalars(kept):
            writer.add_scalar(f"floatline/{tag}", value, step)
        summary = events.library().proto.summary_pb2.Summary
        for step, phase, image in pictures(kept):
            tag = f"floatline/float_line_{phase}"
            value = summary.Value(tag=tag, image=_encoded(summary, image))
            writer.file_writer.add_summary(summary(value=[value]), step)


def _texts(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    headline = headline_text(diagnosis)
    yield "verdict", f"**{headline}** {_plain(diagnosis.explanation)}"
    for number, finding in enumerate(diagnosis.findings, start=1):
        yield f"finding_{number}", _finding(finding)
    if diagnosis.repair is not None:
        repair = diagnosis.repair
        came = _plain(what_came(repair) or "")
        yield "repair", f"**{repair.verdict}** {_plain(repair.explanation)} {came}".rstrip()
        if repair.patch is not None:
            yield "patch", textwrap.indent(repair.patch, "    ")


def _finding(finding: Finding) -> str:
    remedies = "".join(f"\n- {_plain(remedy)}" for remedy in finding.remedies)
    return f"**{finding.rule} {finding.cause}** {_plain(finding.summary)}\n{remedies}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: what comes from the user's model is no markup."""
    escaped = html.escape(text)
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in escaped)


def _scalars(diagnosis: Diagnosis) -> Iterator[tuple[str, int, float]]:
    evidence = diagnosis.evidence
    for step in evidence.history.steps:
        yield "skipped", step.step, float(step.skipped)
        yield "loss_not_finite", step.step, float(nonfinite(step.loss))
        if step.loss is not None and not nonfinite(step.loss):
            yield "loss", step.step, step.loss
        power = exponent(step.loss_scale)
        if power is not None:
            yield "log2_loss_scale", step.step, power
    for step in evidence.reference.steps if evidence.reference else ():
        if step.loss is not None and not nonfinite(step.loss):
            yield "loss_in_float32", step.step, step.loss


def _encoded(summary: Any, png: bytes) -> Any:
    """The image with its size, which a PNG file tells in its first chunk."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    return summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
