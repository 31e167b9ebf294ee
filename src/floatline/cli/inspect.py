"""`floatline inspect`: shows in which dtypes a script's model really computes."""

from __future__ import annotations

import contextlib
import json
import sys

import click

from floatline import files
from floatline.cli.appearance import no_color_option, quiet_option
from floatline.cli.environment import quieten_tensorflow
from floatline.cli.failures import debug_option
from floatline.cli.misplaced import warn_of_misplaced
from floatline.cli.output import checked_target, stdout_on_stderr
from floatline.cli.precision import asked_for, precision_options
from floatline.report import inspection as inspection_report
from floatline.report import terminal

_STDOUT = "-"


@click.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Show dtypes, bytes and casts of a script's model.",
)
@precision_options
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Count layer outputs for this many examples.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    help="Also write the inspection to FILE; with - only that, to standard output.",
)
@quiet_option
@no_color_option
@debug_option
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
@click.pass_context
def inspect(
    ctx: click.Context,
    script: str,
    arguments: tuple[str, ...],
    precision: str | None,
    plan_file: str | None,
    batch_size: int,
    json_file: str | None,
    quiet: bool,
    no_color: bool,
) -> None:
    """Run SCRIPT up to its training and show how its model computes, without training it.

    The script is not changed. Options of Floatline's come before SCRIPT; everything after it is
    the script's own.
    """
    warn_of_misplaced(ctx, script, arguments)
    asked = asked_for(precision, plan_file)
    to_stdout = json_file == _STDOUT
    target = None if json_file is None or to_stdout else checked_target(json_file)
    quieten_tensorflow()
    from floatline.scripts import inspect_script

    with contextlib.ExitStack() as stack:
        if to_stdout:
            stack.enter_context(stdout_on_stderr())
        found = inspect_script(script, arguments, precision=asked, batch_size=batch_size)
    text = json.dumps([one.to_dict() for one in found], indent=1, allow_nan=False) + "\n"
    if target is not None:
        files.write(target, text)
    if to_stdout:
        click.echo(text, nl=False)
        return
    out = terminal.console(sys.stdout, colour=not no_color)
    for one in found:
        shown = inspection_report.top(one) if quiet else inspection_report.render(one)
        terminal.show(shown, out)
