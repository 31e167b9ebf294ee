"""`floatline run`: runs a script to its end under watch, with a precision or a plan if asked."""

from __future__ import annotations

from typing import Any

import click

from floatline.cli.appearance import uncoloured_option
from floatline.cli.failures import debug_option
from floatline.cli.misplaced import warn_of_misplaced
from floatline.cli.precision import asked_for, precision_options
from floatline.cli.watch import watch_asked_for, watch_options
from floatline.precision.changes import Changes
from floatline.report.changes import summary


@click.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Run a training script under watch, with a precision or a plan.",
)
@precision_options
@watch_options
@click.option("--quiet", is_flag=True, help="Do not say what was changed.")
@uncoloured_option
@debug_option
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    script: str,
    arguments: tuple[str, ...],
    precision: str | None,
    plan_file: str | None,
    quiet: bool,
    **watch: Any,
) -> None:
    """Run SCRIPT to its end, as Python would, under watch.

    The script is not changed, and its exit status is this command's; 1 when it ended well but a
    training has failed. What was changed in its models and what the watch sees is said on standard
    error. Options of Floatline's come before SCRIPT; everything after it is the script's own.
    """
    warn_of_misplaced(ctx, script, arguments)
    asked = asked_for(precision, plan_file)
    watched = watch_asked_for(**watch)
    from floatline.scripts import run_script

    def told(model: str, changes: Changes) -> None:
        if not quiet:
            click.echo(summary(model, changes), err=True)

    def warn(text: str) -> None:
        click.echo(f"floatline: {text}", err=True)

    ended = run_script(script, arguments, asked, told, watched, warn)
    click.echo(ended.message, err=True, nl=False)
    for note in ended.notes:
        click.echo(f"floatline: {note}", err=True)
    ctx.exit(ended.status)
