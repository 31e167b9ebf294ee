"""`floatline run`: runs a script to its end with a precision or a plan turned on."""

from __future__ import annotations

import click

from floatline.cli.failures import debug_option
from floatline.cli.misplaced import warn_of_misplaced
from floatline.cli.precision import asked_for, precision_options
from floatline.precision.changes import Changes
from floatline.report.changes import summary


@click.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Run a training script with a precision or a plan.",
)
@precision_options
@click.option("--quiet", is_flag=True, help="Do not say what was changed.")
@debug_option
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
@click.pass_context
def run(
    ctx: click.Context,
    script: str,
    arguments: tuple[str, ...],
    precision: str | None,
    plan_file: str | None,
    quiet: bool,
) -> None:
    """Run SCRIPT to its end, as Python would, with a precision turned on.

    The script is not changed, and its exit status is this command's. What was changed in its
    models is said on standard error. Options of Floatline's come before SCRIPT; everything after
    it is the script's own.
    """
    warn_of_misplaced(ctx, script, arguments)
    asked = asked_for(precision, plan_file)
    from floatline.scripts import run_script

    def told(model: str, changes: Changes) -> None:
        if not quiet:
            click.echo(summary(model, changes), err=True)

    ended = run_script(script, arguments, asked, told)
    click.echo(ended.message, err=True, nl=False)
    for note in ended.notes:
        click.echo(f"floatline: {note}", err=True)
    ctx.exit(ended.status)
