"""The options that say in which forms a diagnosis is written, and the writing of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from floatline import events, files
from floatline.cli.output import checked_folder, checked_target
from floatline.records import Diagnosis
from floatline.report import json

STDOUT = "-"
"""Stands for standard output in the place of a file."""


@dataclass(frozen=True, slots=True)
class Forms:
    """Where a diagnosis is written besides the terminal, checked before anything has run.

    Attributes:
        json: File for the JSON form, or None.
        html: File for the page, or None.
        tensorboard: Folder for TensorBoard, or None.
        to_stdout: Whether the JSON form goes to standard output, and nothing else does.
    """

    json: Path | None = None
    html: Path | None = None
    tensorboard: Path | None = None
    to_stdout: bool = False


def form_options(command: Any) -> Any:
    """Adds `--json`, `--html` and `--tensorboard`."""
    as_json = click.option(
        "--json",
        "json_file",
        metavar="FILE",
        help="Also write the diagnosis to FILE; with - only that, to standard output.",
    )
    as_html = click.option(
        "--html",
        "html_file",
        metavar="FILE",
        help="Also write a page to FILE that opens in any browser, offline.",
    )
    as_events = click.option(
        "--tensorboard",
        "tensorboard_folder",
        metavar="DIR",
        help="Also write text, scalars and images for TensorBoard to DIR.",
    )
    return as_json(as_html(as_events(command)))


def checked(json_file: str | None, html_file: str | None, folder: str | None) -> Forms:
    """The forms that were asked for.

    Raises:
        InputError: One of them cannot be written, or its library is missing.
    """
    if folder is not None:
        events.require()
    to_stdout = json_file == STDOUT
    return Forms(
        None if json_file is None or to_stdout else checked_target(json_file),
        None if html_file is None else checked_target(html_file, "--html"),
        None if folder is None else checked_folder(folder, "--tensorboard"),
        to_stdout,
    )


def write(diagnosis: Diagnosis, forms: Forms, base: Path) -> None:
    """Writes every form that was asked for.

    Args:
        diagnosis: The whole answer.
        forms: What was asked for.
        base: Files below this folder are named relative to it.
    """
    if forms.to_stdout:
        click.echo(json.dumps(diagnosis, base), nl=False)
    if forms.json is not None:
        files.write(forms.json, json.dumps(diagnosis, base))
    if forms.html is not None:
        from floatline.report.html.page import page

        files.write(forms.html, page(diagnosis, base))
    if forms.tensorboard is not None:
        from floatline.report import tensorboard

        tensorboard.write(diagnosis, forms.tensorboard, base)
