"""`floatline report`: renders a diagnosis again that was kept as JSON, later or elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from floatline.cli import forms
from floatline.cli.appearance import no_color_option, quiet_option
from floatline.cli.failures import debug_option
from floatline.report import terminal
from floatline.report.files import load


@click.command(short_help="Render a diagnosis that was kept as JSON.")
@forms.form_options
@quiet_option
@no_color_option
@debug_option
@click.argument("diagnosis_file", metavar="DIAGNOSIS.json")
def report(
    diagnosis_file: str,
    json_file: str | None,
    html_file: str | None,
    tensorboard_folder: str | None,
    quiet: bool,
    no_color: bool,
) -> None:
    """Render DIAGNOSIS.json, which `floatline diagnose --json` has written.

    Without an option the report is printed. The diagnosis may come from another machine or an
    older Floatline; `--json` writes it in the present form. Neither Keras nor the script is
    needed. The exit status is 0 whatever the verdict.
    """
    asked = forms.checked(json_file, html_file, tensorboard_folder)
    diagnosis = load(diagnosis_file)
    forms.write(diagnosis, asked, Path.cwd())
    if asked == forms.Forms():
        out = terminal.console(sys.stdout, colour=not no_color)
        shown = terminal.headline(diagnosis) if quiet else terminal.render(diagnosis, Path.cwd())
        terminal.show(shown, out)
