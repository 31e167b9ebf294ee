"""The command line's entry: the group of commands and nothing else."""

from __future__ import annotations

import click

from floatline.cli.diagnose import diagnose
from floatline.cli.exit_codes import HELP
from floatline.cli.failures import Commands
from floatline.cli.inspect import inspect
from floatline.cli.report import report
from floatline.cli.rules import explain, rules
from floatline.cli.run import run
from floatline.installed import version


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=HELP,
)
@click.version_option(version(), prog_name="floatline")
def cli() -> None:
    """Find out why mixed-precision training of a Keras model fails, and where."""


cli.add_command(diagnose)
cli.add_command(explain)
cli.add_command(inspect)
cli.add_command(report)
cli.add_command(rules)
cli.add_command(run)


def main() -> None:
    """Runs the command line on the arguments of this process."""
    cli(prog_name="floatline")
