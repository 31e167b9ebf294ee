"""`floatline diagnose`: runs the user's script under watch and tells what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.text import Text

from floatline.capture.capture import Budget
from floatline.cli import forms, repairs
from floatline.cli.appearance import no_color_option, quiet_option
from floatline.cli.environment import quieten_tensorflow
from floatline.cli.exit_codes import BY_VERDICT, HELP
from floatline.cli.failures import debug_option
from floatline.cli.misplaced import warn_of_misplaced
from floatline.cli.output import checked_target, stdout_on_stderr
from floatline.progress import Progress
from floatline.records import Diagnosis
from floatline.repairs import TrialBudget
from floatline.report import layout, progress, terminal
from floatline.watch import folder

_PRECISIONS = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float32")
_DEFAULT = Budget()
_TRIALS = TrialBudget()


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked on the command line."""

    script: str | None
    arguments: tuple[str, ...]
    precision: str | None
    budget: Budget
    forms: forms.Forms
    repair: str | None
    trials: TrialBudget | None
    quiet: bool
    colour: bool
    failure: str | None = None

    def command(self) -> str:
        """The command that asks the same diagnosis again.

        Example:

        >>> limits = (Budget(steps=20), forms.Forms(to_stdout=True))
        >>> asked = Request("my train.py", ("-v",), None, *limits, "p.json", None, True, True)
        >>> asked.command()
        "floatline diagnose --steps 20 --repair p.json 'my train.py' -v"
        """
        words = ["floatline", "diagnose"]
        if self.precision:
            words += ["--precision", self.precision]
        if self.budget.steps != _DEFAULT.steps:
            words += ["--steps", str(self.budget.steps)]
        if self.budget.seconds is not None:
            words += ["--seconds", f"{self.budget.seconds:g}"]
        if self.repair:
            words += ["--repair", self.repair]
        if self.failure:
            words += ["--from", self.failure]
        script = [] if self.script is None else [self.script]
        return shlex.join([*words, *script, *self.arguments])


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog=HELP,
    short_help="Run a training script under watch and tell what is wrong.",
)
@click.option(
    "--precision",
    type=click.Choice(_PRECISIONS),
    help="Run the script as if it had set this Keras dtype policy at its start.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=_DEFAULT.steps,
    show_default=True,
    help="Watch at most this many training steps.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=_DEFAULT.seconds,
    show_default="15, for slow steps up to 60",
    help="Watch training for at most this long; the limit reached first counts.",
)
@forms.form_options
@click.option(
    "--repair",
    "plan_file",
    metavar="PLAN",
    help="Try remedies, and write the smallest plan that cures the training to PLAN (JSON). "
    "Finished trials are kept in PLAN.trials until the search has ended. Where a line of the "
    "script is to blame, the script also runs with that line changed, in another process; the "
    "changes that are shown to cure are written to PLAN.patch.",
)
@click.option(
    "--trial-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=_TRIALS.seconds,
    show_default=True,
    help="With --repair: time for all trials together.",
)
@click.option(
    "--from",
    "failure",
    metavar="FOLDER",
    help="Diagnose a failure that a watch has kept. SCRIPT is only needed for a model with "
    "classes of its own.",
)
@click.option("--no-trials", is_flag=True, help="With --repair: propose a plan without trying it.")
@quiet_option
@no_color_option
@debug_option
@click.argument("script", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
@click.pass_context
def diagnose(
    ctx: click.Context,
    script: str | None,
    arguments: tuple[str, ...],
    precision: str | None,
    steps: int,
    seconds: float | None,
    json_file: str | None,
    html_file: str | None,
    tensorboard_folder: str | None,
    plan_file: str | None,
    trial_seconds: float,
    failure: str | None,
    no_trials: bool,
    quiet: bool,
    no_color: bool,
) -> None:
    """Run SCRIPT up to its training, watch that, and tell why it fails.

    The script is not changed. Options of Floatline's come before SCRIPT; everything after it is
    the script's own.
    """
    if script is None and failure is None:
        raise click.UsageError("Missing argument 'SCRIPT'.", ctx)
    if script is not None:
        warn_of_misplaced(ctx, script, arguments)
    budget = Budget(steps, seconds)
    trials = None
    if plan_file is not None:
        count = 0 if no_trials else _TRIALS.trials
        journal = Path(f"{plan_file}.trials").absolute()
        trials = TrialBudget(trials=count, seconds=trial_seconds, journal=journal)
    written = forms.checked(json_file, html_file, tensorboard_folder)
    request = Request(
        script,
        arguments,
        precision,
        budget,
        written,
        plan_file,
        trials,
        quiet,
        not no_color,
        failure,
    )
    diagnosis = _answer(request)
    ctx.exit(BY_VERDICT[diagnosis.verdict])


def _answer(request: Request) -> Diagnosis:
    """Diagnoses and reports; the working folder is noted first, for the script may change it."""
    base = Path.cwd()
    plan_target = None if request.repair is None else checked_target(request.repair, "--repair")
    diagnosis = _diagnosis(request, divert=request.forms.to_stdout)
    try:
        if plan_target is not None and diagnosis.repair is not None:
            repairs.write(diagnosis.repair, plan_target)
        forms.write(diagnosis, request.forms, base)
    finally:  # A disk that is full costs a file, not the answer.
        if not request.forms.to_stdout:
            _show(diagnosis, request, base, plan_target)
    return diagnosis


def _diagnosis(request: Request, *, divert: bool) -> Diagnosis:
    """Runs the script; with `divert` nothing of it reaches standard output."""
    quieten_tensorflow()
    with contextlib.ExitStack() as stack:
        if divert:
            stack.enter_context(stdout_on_stderr())
        errors = terminal.console(sys.stderr, colour=request.colour)
        listener = stack.enter_context(progress.shown_on(errors, quiet=request.quiet))
        diagnosis = _run(request, listener)
    if diagnosis.command is None:
        diagnosis = dataclasses.replace(diagnosis, command=request.command())
    return diagnosis


def _run(request: Request, listener: Progress) -> Diagnosis:
    """Calls the diagnosis that is asked for.

    Keras and its backend take seconds to load, and read the environment while they do.
    """
    if request.failure is not None:
        listener("replaying the failure")
        return _replayed(request, request.failure, listener)
    assert request.script is not None
    listener("running the script")
    from floatline.pipeline import diagnose_script

    return diagnose_script(
        request.script,
        request.arguments,
        precision=request.precision,
        budget=request.budget,
        progress=listener,
        trials=request.trials,
    )


def _replayed(request: Request, failure: str, listener: Progress) -> Diagnosis:
    backend = folder.read(Path(failure))["environment"]["backend"]
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    from floatline.watch.diagnosing import diagnose_failed_script, diagnose_failure

    if request.script is None:
        return diagnose_failure(failure, progress=listener, trials=request.trials)
    return diagnose_failed_script(
        failure,
        request.script,
        request.arguments,
        precision=request.precision,
        progress=listener,
        trials=request.trials,
    )


def _show(diagnosis: Diagnosis, request: Request, base: Path, plan_target: Path | None) -> None:
    out = terminal.console(sys.stdout, colour=request.colour)
    if request.quiet:
        terminal.show(terminal.headline(diagnosis), out)
        return
    terminal.show(terminal.render(diagnosis, base), out)
    if plan_target is not None and diagnosis.repair is not None:
        uses = [*repairs.uses(diagnosis.repair, plan_target, request.script, base)]
        if uses:
            lines = [Text(use if use is uses[0] else f"or {use}") for use in uses]
            terminal.show(layout.section("To use the repair", lines), out)
