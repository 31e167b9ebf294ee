"""How the command line ends when it cannot finish: one clear message, never a stack of calls."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

import click

from floatline.cli.exit_codes import EXIT_INTERRUPTED
from floatline.errors import EXIT_COULD_NOT_RUN, FloatlineError, TraceError

_DEBUG = "floatline.debug"

WITHOUT_A_STEP = "\n`floatline inspect` tells what can be told of its model without a step."
"""What is left where a training step cannot be traced."""


class Commands(click.Group):
    """A group of commands whose failures are told in words."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; turns what it raises into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, BrokenPipeError):
            raise  # click knows what to do with these
        except (KeyboardInterrupt, click.Abort):
            _say("floatline: interrupted; nothing half-written is left behind.", ctx)
            ctx.exit(EXIT_INTERRUPTED)
        except FloatlineError as error:
            besides = WITHOUT_A_STEP if isinstance(error, TraceError) else ""
            _say(f"floatline: {error}{besides}", ctx)
            ctx.exit(error.exit_code)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            _say(f"floatline: {error.strerror}." if full else _apology(error), ctx)
            ctx.exit(EXIT_COULD_NOT_RUN)
        except Exception as error:  # noqa: BLE001 (the last resort: people get words, not frames)
            _say(_apology(error), ctx)
            ctx.exit(EXIT_COULD_NOT_RUN)


def debug_option(command: Any) -> Any:
    """Adds `--debug`, which shows the stack of calls below the message."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="On failure, show where in the code it happened.",
    )(command)


def _remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value


def _say(message: str, ctx: click.Context) -> None:
    """Writes to stderr; with `--debug` the exception that is being handled, too."""
    click.echo(message, err=True)
    if ctx.meta.get(_DEBUG):
        click.echo("".join(traceback.format_exception(sys.exception())), err=True, nl=False)


def _apology(error: Exception) -> str:
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    return (
        f"floatline: internal error: {told}\n"
        "This is a fault of Floatline's, not of your script. Please report it with the output of "
        "the same command with --debug (before SCRIPT) and of `floatline --version`."
    )
